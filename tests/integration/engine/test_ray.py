"""Ray Serve on two nodes: found, streamed, cancelled, and a node that dies in the middle.

The cluster is Ray's own, of real processes on loopback; behind it is llama.cpp's real server. Ray
Serve LLM itself is not here: its engine is vLLM, which wants a GPU.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import trio
from tests.integration.engine.servers import free_port
from tools.assurance.environments import tool

from rowen.engine.base import Engine, Finished, Piece
from rowen.engine.opening import HttpSpec, open_http
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import ChatInput, CompletionInput, Finish, JobInput, Kind, Message

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("ray_cluster.py")
MARK = "ROWEN_TEST_CLUSTER"
# Bounds on what may hang, not measurements: a shared machine may be a hundred times slower.
PATIENCE_S = 300
STOP_S = 120
# The model counts on and on, so that its answers last.
COUNTING = CompletionInput(prompt="1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,", temperature=0.0, seed=0)
LONG_UNITS = 1000


class RayCluster:
    """The cluster's program, which takes one order a line and answers with one.

    Args:
        model_file: What the second node serves.
        place: Where Ray keeps its sockets and logs; short, as paths of sockets must be.
    """

    def __init__(self, model_file: Path, place: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._mark = uuid4().hex
        self._errors = Path(place) / "stderr"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [tool("ray") / "python", PROGRAM, model_file, str(port), place],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Each of Ray's processes inherits it, whatever it calls itself.
                env=os.environ | {MARK: self._mark},
            )

    async def said(self, order: str = "") -> str:
        """Gives an order, if there is one, and waits for the answer."""
        assert self._process.stdin
        assert self._process.stdout
        if order:
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()
        with trio.fail_after(PATIENCE_S):
            line = await trio.to_thread.run_sync(
                self._process.stdout.readline, abandon_on_cancel=True
            )
        assert line, f"the cluster ended:\n{self._errors.read_text()[-3000:]}"
        return line.strip()

    async def made(self) -> tuple[int, int]:
        """Tokens of the answers that have ended, and how many answers have not."""
        tokens, busy = (await self.said("made")).split()
        return int(tokens), int(busy)

    def close(self) -> None:
        """Ends it.

        Raises:
            AssertionError: Something of it was left; it is ended now.
        """
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        finally:
            left = self._left()
            for process_id in left:
                os.kill(process_id, 9)
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
        assert not left, f"Ray left {len(left)} processes behind"

    def _left(self) -> list[int]:
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in file.read_bytes().split(b"\0"):
                    found.append(int(file.parent.name))
            except OSError:
                continue  # ended meanwhile, or another user's
        return found


@pytest.fixture(scope="module")
def cluster(model_file: Path) -> Iterator[RayCluster]:
    """Two nodes that serve the model, one for all tests."""
    with tempfile.TemporaryDirectory(prefix="rowen-ray-", ignore_cleanup_errors=True) as place:
        cluster = RayCluster(model_file, place)
        try:
            assert trio.run(cluster.said) == "ready"
            yield cluster
        finally:
            cluster.close()


def spec(cluster: RayCluster) -> HttpSpec:
    """As an owner who runs Ray anyway describes it."""
    return HttpSpec(
        name="ray", kind="ray", url=cluster.url, model="smollm2", context_units=2048, start_s=60
    )


async def run(engine: Engine, job: JobInput, units_max: int) -> tuple[str, Finished]:
    with trio.fail_after(PATIENCE_S):
        async with engine.generate(job, units_max) as items:
            *pieces, end = [item async for item in items]
    assert isinstance(end, Finished)
    said = [piece for piece in pieces if isinstance(piece, Piece)]
    assert sum(piece.units for piece in said) == end.output_units
    return "".join(piece.text for piece in said), end


async def collect(items: AsyncIterator[Piece | Finished], pieces: list[Piece]) -> None:
    async for item in items:
        assert isinstance(item, Piece), "nothing has finished"
        pieces.append(item)


async def test_its_model_is_found_and_streams_with_usage(cluster: RayCluster) -> None:
    """What is offered comes from the ingress; counts agree before, during and after."""
    job = ChatInput(messages=(Message(role="user", content="Name three fruits."),))
    async with open_http(spec(cluster)) as engine:
        assert engine.is_ready
        assert (engine.info.model, engine.info.build) == ("smollm2", "ray serve llm")
        assert engine.info.kinds == (Kind.CHAT, Kind.COMPLETION)
        input_units = await engine.count_input(job)
        text, end = await run(engine, job, 12)
        assert text
        assert (end.input_units, end.output_units) == (input_units, 12)
        assert end.finish is Finish.LENGTH


async def test_leaving_a_stream_cancels_the_work_on_the_other_node(cluster: RayCluster) -> None:
    """The engine stops well before the end that the same job has when nobody leaves."""
    async with open_http(spec(cluster)) as engine:
        before, _ = await cluster.made()
        await run(engine, COUNTING, LONG_UNITS)
        after, _ = await cluster.made()
        assert after - before == LONG_UNITS

        with trio.fail_after(PATIENCE_S):
            async with engine.generate(COUNTING, LONG_UNITS) as items:
                await anext(items)
            while (made := await cluster.made())[1]:
                await trio.sleep(0.1)
        assert made[0] - after < LONG_UNITS


async def test_a_node_that_dies_mid_stream_is_unavailable_and_miscounts_nothing(
    cluster: RayCluster,
) -> None:
    """What came before it counts token for token; a new node serves the same again."""
    async with open_http(spec(cluster)) as engine:
        assert await cluster.said("hold") == "held"
        pieces: list[Piece] = []
        with trio.fail_after(PATIENCE_S):
            async with engine.generate(COUNTING, LONG_UNITS) as items:
                first = await anext(items)
                assert isinstance(first, Piece)
                pieces.append(first)
                assert await cluster.said("kill") == "killed"
                with pytest.raises(Unavailable):
                    await collect(items, pieces)
        units = sum(piece.units for piece in pieces)
        assert 0 < units <= 8

        assert await cluster.said("add") == "added"
        text, end = await run(engine, COUNTING, units)
        assert text == "".join(piece.text for piece in pieces)
        assert (end.output_units, end.finish) == (units, Finish.LENGTH)
