"""How a mark is made: pure functions of key record, payload and array.

A scheme knows no pipeline and no file. Its detector has the same name in
`watermark.detectors`.
"""

from __future__ import annotations

from watermark.keys import Key, KeyRecord
from watermark.schemes import greenlist, gumbel, noise
from watermark.schemes.base import Scheme as Scheme

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme for scheme in (gumbel.SCHEME, greenlist.SCHEME, noise.SCHEME)
}


def default_records(key: Key, epoch: int = 0) -> list[KeyRecord]:
    """One record per scheme, with default parameters and for any vocabulary."""
    return [scheme.record(key, epoch=epoch) for scheme in SCHEMES.values()]
