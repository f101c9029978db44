"""Does what we sign conform, by C2PA's rubrics? ``python -m benchmarks.conformance``.

The rubrics are published by C2PA (c2pa-org/conformance-public, asset-rubrics, CC BY
4.0) and are read from a folder; they are no part of this project.
"""
