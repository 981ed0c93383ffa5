"""Reads pages with RapidOCR: small models on one processor core, out of the wheel, no download."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trio

from rowen.engine.base import EngineInfo, Finished, Piece
from rowen.engine.items import ItemByItem
from rowen.engine.pages import decode_page, open_page
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ITEMS_MAX, JobInput, Kind, OcrInput, kind_of
from rowen.protocol.units import ITEM_ENDS

MODEL = "pp-ocrv6-small"
CHARACTERS_MAX = 32_768
"""Of one page; a full page of a newspaper has fewer."""
_END = ITEM_ENDS[Kind.OCR]


@asynccontextmanager
async def open_ocr() -> AsyncIterator[OcrEngine]:
    """Loads the models and reads pages until the block ends.

    Raises:
        UserError: The extra ``ocr`` is not installed.
    """
    engine = OcrEngine(await trio.to_thread.run_sync(_info))
    await engine.wake()
    try:
        yield engine
    finally:
        await engine.release()


class OcrEngine:
    """One reader; see ``rowen.engine.base.Engine`` for what its methods promise.

    A page that is being read is read to its end, in a thread: a few seconds, which the bound on
    its points keeps few.
    """

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self._loaded: list[Any] = []
        self._places = trio.CapacityLimiter(info.concurrency)

    @property
    def info(self) -> EngineInfo:
        """What runs here."""
        return self._info

    @property
    def is_ready(self) -> bool:
        """Whether the models are loaded."""
        return bool(self._loaded)

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        """Pages, once each is seen to be one that can be read."""
        pages = self._pages(job)
        for number, page in enumerate(pages, 1):
            try:
                await trio.to_thread.run_sync(open_page, page)
            except UserError as error:
                raise UserError(f"page {number}: {error}") from error
        return len(pages)

    @asynccontextmanager
    async def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AsyncIterator[AsyncIterator[Piece | Finished]]:
        """Starts the job; a page is a piece."""
        if output_units_max < 1:
            raise UserError(f"a job must allow at least 1 character, not {output_units_max}")
        pages = self._pages(job)
        holder = object()
        await self._places.acquire_on_behalf_of(holder)
        try:
            yield ItemByItem(pages, self._read, output_units_max)
        finally:
            self._places.release_on_behalf_of(holder)

    async def release(self) -> bool:
        """Forgets the models."""
        self._loaded.clear()
        await trio.lowlevel.checkpoint()
        return True

    async def stop(self) -> bool:
        """Forgets the models; a page that is being read holds them to its end."""
        return await self.release()

    async def wake(self) -> None:
        """Loads the models."""
        if not self._loaded:
            self._loaded.append(await trio.to_thread.run_sync(_load))

    def _pages(self, job: JobInput) -> tuple[bytes, ...]:
        if not isinstance(job, OcrInput):
            raise UserError(f"this engine is not asked for {kind_of(job)}: it does not do that")
        if not self._loaded:
            raise Unavailable("the engine has given its memory back")
        return job.pages

    async def _read(self, page: bytes) -> Piece:
        if not self._loaded:
            raise Unavailable("the engine has given its memory back")
        text = await trio.to_thread.run_sync(partial(_read_page, self._loaded[0], page))
        if len(text) > CHARACTERS_MAX:
            raise UserError(f"a page has {len(text)} characters, at most {CHARACTERS_MAX} are told")
        return Piece(text, len(text), 1)


def package_folder() -> Path:
    """Where the package is that reads pages, models and all.

    Raises:
        UserError: It is not installed.
    """
    found = find_spec("rapidocr")
    if found is None or found.origin is None or find_spec("onnxruntime") is None:
        raise UserError("[ocr] needs the extra `ocr`: pip install 'rowen[ocr]'")
    return Path(found.origin).parent


def _info() -> EngineInfo:
    models = package_folder() / "models"
    digest = sha256()
    for file in sorted(models.glob("*.onnx")):
        digest.update(sha256(file.read_bytes()).digest())
    return EngineInfo(
        model=MODEL,
        precision="fp32",
        weights_digest=digest.digest(),
        build=f"rapidocr {version('rapidocr')}",
        context_units=ITEMS_MAX,
        concurrency=1,
        kinds=(Kind.OCR,),
        item_units_max=CHARACTERS_MAX,
    )


def _load() -> Any:
    import cv2
    from rapidocr import RapidOCR

    # As many threads as there are cores, otherwise; the models get one below.
    cv2.setNumThreads(1)
    # What it says of a page must not reach a log.
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _read_page(reader: Any, page: bytes) -> str:
    picture = decode_page(page)
    try:
        lines = reader(picture).txts or ()
    except Exception as error:  # the library tells no errors of its own; one page is isolated here
        raise Unavailable(f"the page could not be read: {type(error).__name__}") from error
    # Not in any text, or it would end the page.
    return "\n".join(line.replace(_END, " ") for line in lines) + _END
