"""Make label.otf: the glyphs of the explicit marks, from Debian's fonts-noto-cjk.

    python tests/labels/make_font.py /usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc

Needs fonttools, which comes with matplotlib. The font that is shipped was made from
version 1:20220127+repack1-1 of the package; README.md beside the font has its licence.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Every character of the texts in watermark.labels.explicit_text, and no other.
CHARACTERS = " -AI成生合人工智能adegnrt"
FACE = "Noto Sans CJK SC Bold"
NAME = "Watermark Label"  # not the name that Adobe reserves
OUT = Path(__file__).parents[2] / "src/watermark/labels/fonts/label.otf"


def make(source: Path) -> bytes:
    """The subset under a name of its own, without what running text needs."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTCollection

    fonts: Any = TTCollection(source, lazy=True).fonts
    font = next(f for f in fonts if f["name"].getDebugName(4) == FACE)
    options = Options(
        hinting=False,
        layout_features=[],
        name_IDs=[0, 1, 2, 4, 6, 13, 14],
        name_languages=[0x409],
        notdef_outline=True,
        desubroutinize=True,
    )
    options.drop_tables += ["BASE", "GPOS", "GSUB", "VORG", "vhea", "vmtx"]
    subsetter = Subsetter(options)
    subsetter.populate(text=CHARACTERS)
    subsetter.subset(font)
    for number, text in {
        1: NAME,
        2: "Bold",
        4: f"{NAME} Bold",
        6: NAME.replace(" ", "") + "-Bold",
    }.items():
        font["name"].setName(text, number, 3, 1, 0x409)
    font["CFF "].cff.fontNames = [NAME.replace(" ", "") + "-Bold"]
    top = font["CFF "].cff.topDictIndex[0]
    top.FamilyName, top.FullName = NAME, f"{NAME} Bold"
    font["head"].modified = font["head"].created  # the same bytes each time
    font.recalcTimestamp = False
    font.save(OUT)
    return OUT.read_bytes()


if __name__ == "__main__":
    print(len(make(Path(sys.argv[1]))), "bytes")
