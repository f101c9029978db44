"""The Soft Binding Resolution API of C2PA 2.4: what a client needs, without a server.

`messages` has its shapes and limits, `receipt` the proof that a manifest was logged,
`client` asks the repositories that a user allowed (`endpoints`). The server is
`watermark.serve`.
"""
