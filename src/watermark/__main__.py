"""``python -m watermark``: the command `wm`."""

from __future__ import annotations

from watermark.cli import main

if __name__ == "__main__":
    main()
