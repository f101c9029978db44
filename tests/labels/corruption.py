"""Damaged containers: what is done to a labelled file, and what has to come of it.

``python -m tests.labels.corruption 10000`` does it so many times to each container.
"""

import contextlib
import io
import random
import sys
from collections import Counter
from collections.abc import Iterator

from tests.labels.carriers import LABEL, OTHER, files, labelled

from watermark.assets import DamagedAsset
from watermark.errors import WatermarkError
from watermark.labels import aigc, containers

NUMBERS = (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1")
TEXTS = ("text/markdown", "text/html")  # a piece of a text is a whole text


def damaged(good: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """What was done and what came of it, so many times."""
    draw = random.Random(seed)
    kinds = ("cut", "flip", "bytes", "put in", "taken out", "number")
    for _ in range(count):
        data, kind = bytearray(good), draw.choice(kinds)
        at = draw.randrange(len(data))
        if kind == "cut":
            del data[at:]
        elif kind == "flip":
            data[at] ^= 1 << draw.randrange(8)
        elif kind == "bytes":
            for _ in range(draw.randrange(1, 20)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        elif kind == "put in":
            data[at:at] = draw.randbytes(draw.randrange(1, 50))
        elif kind == "taken out":
            del data[at : at + draw.randrange(1, 50)]
        else:
            data[at : at + 4] = draw.choice(NUMBERS)
        yield kind, bytes(data)


def outcome(data: bytes, media_type: str) -> str:
    """``label``, ``other`` label, ``none`` or ``damaged``; every other error is one."""
    try:
        found = containers.read(io.BytesIO(data), media_type)
    except DamagedAsset:
        found, result = [], "damaged"
    else:
        result = "label" if found == [LABEL] else "other" if found else "none"
    for each in found:
        aigc.parse(each)
    with contextlib.suppress(WatermarkError):
        labelled(data, media_type, OTHER, replace=True)
    return result


def outcomes(media_type: str, count: int, seed: int = 1) -> Counter[tuple[str, str]]:
    """How often each came of each damage."""
    good = labelled(files()[media_type], media_type)
    return Counter(
        (kind, outcome(data, media_type)) for kind, data in damaged(good, count, seed)
    )


if __name__ == "__main__":
    for name in files():
        print(name, dict(sorted(outcomes(name, int(sys.argv[1])).items())))
