"""`videoshield`: Gaussian Shading for the latents of a video, as published.

Hu et al., "VideoShield" (ICLR 2025, arXiv 2501.14195), in the layout of their code at
commit 089fd40: latents (C, F, H, W), a message of C x F/8 x H/4 x W/4 bits repeated 8
times along the frames and 4 times along height and width, one ChaCha20 stream for the
whole video. For research and migration; the weaknesses are those of
`watermark.schemes.foreign.gaussian_shading`, and one more: a dropped or inserted frame
takes all frames behind it out of place.

`local` puts equal bits beside each other, as their ``local_copy`` does.
"""

from __future__ import annotations

from watermark.schemes.foreign.gaussian_shading import Code
from watermark.schemes.foreign.gaussian_shading import mark as mark

REPEATS = (1, 8, 4, 4)  # along (C, F, H, W)


def code(
    shape: tuple[int, int, int, int],
    key: bytes,
    nonce: bytes,
    *,
    repeats: tuple[int, int, int, int] = REPEATS,
    local: int = 1,
) -> Code:
    """The code of one video.

    Args:
        shape: (C, F, H, W) of its latents.
        key: 32 bytes.
        nonce: 12 bytes; theirs is fresh for each video.
        repeats: times that the message is repeated along each axis.
        local: equal neighbours along frames, height and width.

    Raises:
        InvalidSignal: the repeats do not divide the shape, or `local` not the repeats.
        ValueError: key or nonce of another length.
    """
    return Code(
        shape=shape,
        key=key,
        nonce=nonce,
        repeats=repeats,
        local=(1, local, local, local),
    )
