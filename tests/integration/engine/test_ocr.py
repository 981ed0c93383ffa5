"""Pages, read by the real models. Threat 67: a picture that is larger than it looks."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from rowen.engine.base import Finished, Piece
from rowen.engine.ocr import OcrEngine, open_ocr
from rowen.engine.pages import PIXELS_MAX, decode_page, open_page
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ChatInput, Finish, Kind, Message, OcrInput, trial_of

PATIENCE_S = 300
LINES = ("The second crop of hay", "is called the rowen.", "Invoice 2048: $17.50")


def page(*lines: str, kind: str = "PNG") -> bytes:
    """A picture of some lines."""
    picture = Image.new("RGB", (800, 60 + 80 * len(lines)), "white")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((40, 30 + 80 * number), line, fill="black", font=ImageFont.load_default(36))
    raw = io.BytesIO()
    picture.save(raw, kind)
    return raw.getvalue()


@pytest.fixture
async def engine() -> AsyncIterator[OcrEngine]:
    async with open_ocr() as opened:
        yield opened


async def run(
    engine: OcrEngine, job: OcrInput, units: int = 100_000
) -> tuple[list[Piece], Finished]:
    with trio.fail_after(PATIENCE_S):
        async with engine.generate(job, units) as items:
            *told, end = [item async for item in items]
    assert isinstance(end, Finished)
    pieces = [piece for piece in told if isinstance(piece, Piece)]
    assert all((len(p.text), 1) == (p.units, p.input_units) for p in pieces)
    assert (end.input_units, end.output_units) == (len(pieces), sum(p.units for p in pieces))
    return pieces, end


async def test_pages_are_read_in_order_a_piece_each(engine: OcrEngine) -> None:
    """PNG, JPEG and a page with nothing on it."""
    job = OcrInput((page(*LINES), page(), page("Total 99 EUR", kind="JPEG")))
    assert await engine.count_input(job) == 3
    pieces, end = await run(engine, job)
    assert [p.text for p in pieces] == ["\n".join(LINES) + "\f", "\f", "Total 99 EUR\f"]
    assert end.finish is Finish.STOP
    assert engine.info.kinds == (Kind.OCR,)
    assert engine.info.build.startswith("rapidocr 3.")


async def test_a_page_comes_whole_or_not_at_all(engine: OcrEngine) -> None:
    first = len("\n".join(LINES)) + 1
    pieces, end = await run(engine, OcrInput((page(*LINES), page(*LINES))), first + 5)
    assert (len(pieces), end.finish) == (1, Finish.LENGTH)


async def test_memory_is_given_back(engine: OcrEngine) -> None:
    job = OcrInput((page("again"),))
    assert await engine.release()
    assert not engine.is_ready
    with pytest.raises(Unavailable):
        await engine.count_input(job)
    await engine.wake()
    pieces, _ = await run(engine, job)
    assert pieces[0].text == "again\f"


async def test_a_reader_of_pages_does_nothing_else(engine: OcrEngine) -> None:
    with pytest.raises(UserError, match="not asked for chat"):
        await engine.count_input(ChatInput((Message("user", "hi"),)))
    # What a node asks to see whether it works.
    assert await engine.count_input(trial_of(Kind.OCR)) == 1


async def test_a_node_without_the_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rowen.engine.ocr.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"pip install 'rowen\[ocr\]'"):
        async with open_ocr():
            pass


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A picture that says it has this size, whatever is in it."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *chunks, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bombs() -> dict[str, bytes]:
    lines = zlib.compress(bytes(30_000 * 3) * 3_000, 9)
    text = zlib.compress(b"a" * 200_000_000, 9)
    return {
        "a gigapixel": png(30_000, 30_000, chunk(b"IDAT", lines)),
        "one line too many": png(PIXELS_MAX, 2, chunk(b"IDAT", b"")),
        "a packed text": png(10, 10, chunk(b"zTXt", b"k\0\0" + text), chunk(b"IDAT", b"")),
        "a packed profile": png(10, 10, chunk(b"iCCP", b"k\0\0" + text), chunk(b"IDAT", b"")),
        "lines without end": png(10, 10, chunk(b"IDAT", text)),
    }


BOMBS = bombs()


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(bomb: str) -> None:
    """Threat 67. What is refused costs little memory; what is read, no more than its points."""
    PngImagePlugin.MAX_TEXT_CHUNK = 10**9
    tracemalloc.start()
    try:
        with pytest.raises(UserError):
            decode_page(BOMBS[bomb])
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "raw", [b"", b"GIF89a", b"%PDF-1.7", b"\xff\xd8\xff", page("x")[:60], page("x")[:-400]]
)
def test_what_is_no_page_is_said_so(raw: bytes) -> None:
    with pytest.raises(UserError, match=r"no PNG and no JPEG|damaged"):
        decode_page(raw)


async def test_the_page_that_cannot_be_read_is_named(engine: OcrEngine) -> None:
    """Before the job is taken, so that it costs nobody anything."""
    for wrong in (b"GIF89a", BOMBS["a gigapixel"]):
        with pytest.raises(UserError, match=r"page 2: it"):
            await engine.count_input(OcrInput((page("x"), wrong)))


def test_the_largest_page_is_read() -> None:
    raw = io.BytesIO()
    Image.new("1", (4_000, 4_000)).save(raw, "PNG")
    picture: Any = open_page(raw.getvalue())
    assert picture.size == (4_000, 4_000)
