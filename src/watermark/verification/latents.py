"""Marks in latents that were given as such: nothing has to be encoded or inverted.

Of the initial noise, or an estimate of it that somebody else made, `noise` is tested;
of final latents `latent`. A batch axis of length 1 may have been left: what begins with
such an axis is tested with it and without, and both are counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from watermark.assets.loading import Asset
from watermark.report import Reason
from watermark.schemes import latent, noise
from watermark.verification import frames
from watermark.verification.frames import Time
from watermark.verification.layers import Layers, look_at
from watermark.verification.looks import Files, Layer, Look, kept
from watermark.verification.setting import Findings, Setting

Latents = NDArray[np.float32]


def latents_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Test every key record of the scheme that these latents can carry."""
    assert asset.latents is not None
    looked = look_at(
        asset.latents, Layers(INITIAL if asset.initial else FINAL, {}), setting, found
    )
    if not asset.initial:
        found.open.append(
            Reason(
                "not-invertible",
                "final latents were given, and a mark in the noise is not looked for "
                "in them: decode them and give the picture, or invert them and give "
                "Latents(noise, initial=True)",
            )
        )
    if looked:
        what = "noise" if asset.initial else "final latents"
        found.power.append(
            Reason(
                "power",
                f"expected to find {what} of an output that was marked with this key, "
                "of the very shape that was marked",
            )
        )


def _initial(given: Latents, setting: Setting, files: Files) -> Iterator[Look | Reason]:
    codes = kept(noise.Code)
    for name, share, seen in _sampled(given):
        args = seen, _time(seen), setting.effort, codes, files
        yield from frames.looks(f"noise{name}", share, *args)


def _final(given: Latents, setting: Setting, files: Files) -> Iterator[Look | Reason]:
    codes = kept(latent.Code)
    for name, share, seen in _sampled(given):
        args = latent.whiten(seen), _time(seen), setting.effort, codes, files
        yield from frames.looks(f"latents{name}", share, *args)


def _time(seen: Latents) -> Time:
    """What has four axes is taken for a film's; which is that of time, none tells."""
    return Time((1, 0) if seen.ndim == 4 else ())


def _sampled(given: Latents) -> Iterator[tuple[str, float, Latents]]:
    """(name, share of the error budget, one sample)."""
    if given.shape[0] > 1 or given.ndim < 3:
        yield "", 1.0, given
        return
    yield ", a batch of one", 0.5, given[0]
    yield "", 0.5, given


INITIAL: dict[str, Layer[Latents]] = {"noise": _initial}
FINAL: dict[str, Layer[Latents]] = {"latent": _final}
