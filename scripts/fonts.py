"""The CJK font in billing_lib/documents/fonts: the faces that we use of Debian's collection.

    apt-get download fonts-noto-cjk && dpkg-deb --extract fonts-noto-cjk_*.deb noto
    uv run --with fonttools scripts/fonts.py \
        noto/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc \
        billing_lib/documents/fonts/NotoSansCJK-Regular.ttc

Left out are the monospaced faces, and the hints by which outlines are fitted to the pixels of a
screen; glyphs, metrics and features are as they were.
"""

import sys

import fontTools.subset.cff  # noqa: F401 - adds remove_hints
from fontTools.ttLib import TTCollection
from fontTools.ttLib.tables.DefaultTable import DefaultTable


def shrink(source: str, target: str) -> None:
    """Write the collection's proportional faces without hints; tables that are the same, once."""
    collection = TTCollection(source, lazy=True)
    collection.fonts = [
        font for font in collection.fonts if "Mono" not in font["name"].getDebugName(4)
    ]
    first = collection.fonts[0]
    first["CFF "].cff.remove_hints()
    outlines = first["CFF "].compile(first)
    for font in collection.fonts:
        font.recalcTimestamp = font.recalcBBoxes = False
        font.tables["CFF "] = DefaultTable("CFF ")
        font.tables["CFF "].data = outlines
    collection.save(target, shareTables=True)


if __name__ == "__main__":
    shrink(*sys.argv[1:])
