"""The HTTP service: the Soft Binding Resolution API, and a page to verify files on.

It needs the extra ``[serve]`` (fastapi, uvicorn, python-multipart). `app.create` makes
the application, ``wm serve`` runs it. What looks at strangers' files is a process of
its own (`child`), which is killed when it takes too long or too much memory.
"""
