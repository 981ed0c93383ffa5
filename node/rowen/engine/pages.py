"""Pictures of pages, judged before anything is decoded: a few bytes may stand for gigabytes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from rowen.protocol.errors import UserError

PIXELS_MAX = 16_000_000
"""An A4 page at 400 dots an inch; 48 MB when decoded."""
FORMATS = ("PNG", "JPEG")
_TEXT_BYTES_MAX = 64 * 1024


def open_page(raw: bytes) -> Any:
    """A picture whose size was checked, not decoded yet.

    Raises:
        UserError: It is none, of another format, or too large.
    """
    from PIL import Image, PngImagePlugin

    # What a picture says of itself may be packed, too.
    PngImagePlugin.MAX_TEXT_CHUNK = _TEXT_BYTES_MAX
    PngImagePlugin.MAX_TEXT_MEMORY = _TEXT_BYTES_MAX
    try:
        picture = Image.open(io.BytesIO(raw), formats=FORMATS)
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, _bomb()) as error:
        raise UserError("it is no PNG and no JPEG") from error
    width, height = picture.size
    if width * height > PIXELS_MAX:
        raise UserError(
            f"it has {width} × {height} points, at most {PIXELS_MAX:,} are read: make it smaller"
        )
    return picture


def decode_page(raw: bytes) -> Any:
    """A page as an array of red, green and blue, by row and column.

    Raises:
        UserError: See ``open_page``, or it is damaged.
    """
    import numpy as np

    picture = open_page(raw)
    try:
        return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise UserError("it is damaged") from error


def _bomb() -> type[Exception]:
    from PIL import Image

    return Image.DecompressionBombError
