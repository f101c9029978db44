"""Only what pyproject.toml cannot say: the compiled kernels."""

import os

from setuptools import Extension, setup

KERNELS = (
    "_prf",
    "_lanes",
    "_text",
    "_sequences",
    "_greenlist",
    "_payload",
    "_tournament",
    "_noise",
    "_mt",
    "_engines",
    "_pixel",
)


def extensions() -> list[Extension]:
    """The kernels, or none where WATERMARK_PURE asks for the plain-Python ones."""
    if os.environ.get("WATERMARK_PURE"):
        return []
    from Cython.Build import cythonize

    # Plain baseline: a wheel runs on every processor of its architecture. Products and
    # sums are not contracted into one rounding, so that a kernel equals its reference.
    flags = [] if os.name == "nt" else ["-O3", "-ffp-contract=off"]
    return cythonize(
        [
            Extension(
                f"watermark.kernels.{name}",
                [f"kernels/{name}.pyx"],
                include_dirs=["kernels"],
                depends=[f"kernels/{h}.h" for h in ("lanes", "variants", "lanes_body")],
                extra_compile_args=flags,
            )
            for name in KERNELS
        ],
        build_dir="build/cython",  # keeps the generated C out of kernels/
        include_path=["kernels"],  # so kernels can cimport kernels/*.pxd
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "freethreading_compatible": True,
        },
    )


setup(ext_modules=extensions())
