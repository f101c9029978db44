"""The command `wm`: mark, sign and verify from a shell.

Results go to stdout, as text or (``--json``, ``--jsonl``) as JSON and nothing else;
warnings, errors and progress go to stderr. The exit codes are part of the interface:
`watermark.cli.terminal.Code`.
"""

from __future__ import annotations

from watermark.cli.app import app as app
from watermark.cli.app import main as main
