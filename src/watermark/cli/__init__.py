"""The command `wm`: mark, sign and verify from a shell.

Results go to stdout, as text or (``--json``, ``--jsonl``) as JSON and nothing else;
warnings, errors and progress go to stderr. The exit codes are part of the interface
(`watermark.cli.terminal.Code`):

    0  done
    1  something that nobody foresaw
    2  usage
    3  some inputs could not be read, or (embed) could not be signed
   10  ``--fail-on marked``: a verdict MARKED, or CONFLICT where a mark fires
   11  ``--fail-on no-evidence``: a verdict NO_EVIDENCE
   20  a problem of trust or configuration: home, key, tokenizer, pipeline, ledger

A damaged file is a verdict and no error. 10 and 11 go before 3.
"""

from __future__ import annotations

from watermark.cli.app import app as app
from watermark.cli.app import main as main
