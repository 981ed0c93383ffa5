"""llama.cpp's real server behind ``open_http``, for tests."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from rowen.engine.opening import HttpSpec
from rowen.protocol.jobs import Kind

PROGRAM = Path(__file__).with_name("llama_process.py")


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def llama_spec(
    model_file: Path,
    log_file: Path,
    *,
    context_units: int = 512,
    kind: str = "llamacpp",
    embeds: bool = False,
) -> HttpSpec:
    """The server as an owner would have the node start it."""
    return HttpSpec(
        name="llama",
        kind=kind,
        url=f"http://127.0.0.1:{free_port()}",
        model="smollm2",
        precision="q4_1",
        start_s=120,
        command=(
            sys.executable, str(PROGRAM), str(model_file), "{host}", "{port}", str(context_units),
            *(["embed"] if embeds else []),
        ),
        log_file=log_file,
        # It writes text, too, so it has to be said.
        kinds=(Kind.EMBEDDINGS,) if embeds else (),
    )  # fmt: skip
