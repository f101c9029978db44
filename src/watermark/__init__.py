"""Mark what generative models make, while they make it, and find it again.

>>> import tempfile
>>> import watermark as wm
>>> w = wm.Watermark.create(tempfile.mkdtemp() + "/home", provider="Acme")
>>> report = w.verify("A text that nobody marked.")
>>> report.verdict
<Verdict.INCONCLUSIVE: 'INCONCLUSIVE'>
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from watermark import errors as errors
from watermark import policy as policy
from watermark.errors import VerificationError as VerificationError
from watermark.errors import WatermarkError as WatermarkError
from watermark.keys import Key as Key
from watermark.keys import KeyRecord as KeyRecord
from watermark.keys import KeyRing as KeyRing
from watermark.record import Mark as Mark
from watermark.record import Record as Record
from watermark.report import Evidence as Evidence
from watermark.report import Report as Report
from watermark.report import Verdict as Verdict

if TYPE_CHECKING:
    from watermark.api import Watermark as Watermark
    from watermark.api import attach as attach
    from watermark.api import embed as embed
    from watermark.api import verify as verify
    from watermark.api import verify_many as verify_many
    from watermark.assets.arrays import Latents as Latents
    from watermark.assets.loading import Audio as Audio
    from watermark.assets.loading import Tokens as Tokens
    from watermark.likelihood import Likelihood as Likelihood
    from watermark.marked import Marked as Marked
    from watermark.pipelines.base import Attachment as Attachment
    from watermark.schemes.foreign.config import load_records as load_records

__version__ = "0.1.0"

# These pull in numpy, cryptography and SQLAlchemy; they are read when first asked for.
_LATER = {
    "Marked": "watermark.marked",
    "Watermark": "watermark.api",
    "attach": "watermark.api",
    "embed": "watermark.api",
    "verify": "watermark.api",
    "verify_many": "watermark.api",
    "Audio": "watermark.assets.loading",
    "Latents": "watermark.assets.arrays",
    "Tokens": "watermark.assets.loading",
    "Attachment": "watermark.pipelines.base",
    "Likelihood": "watermark.likelihood",
    "load_records": "watermark.schemes.foreign.config",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'watermark' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
