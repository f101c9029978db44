"""How a mark is made: pure functions of key record, payload and array.

A scheme knows no pipeline and no file. Its detector has the same name in
`watermark.detectors`.
"""

from __future__ import annotations

from watermark.keys import Key, KeyRecord
from watermark.schemes import greenlist, gumbel, latent, noise, pixel, tournament, wave
from watermark.schemes.base import Scheme as Scheme

# Tested where nobody says what was used: each is one more hypothesis in every answer.
DEFAULTS = (
    *(gumbel.SCHEME, greenlist.SCHEME),
    *(noise.SCHEME, latent.SCHEME, pixel.SCHEME),
    wave.SCHEME,
)
SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme for scheme in (*DEFAULTS, tournament.SCHEME)
}


def default_records(key: Key, epoch: int = 0) -> list[KeyRecord]:
    """One record per default scheme, with default parameters and for any vocabulary."""
    return [scheme.record(key, epoch=epoch) for scheme in DEFAULTS]
