"""Loads llama.cpp into this process, with the settings that our promises rest on."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from rowen.protocol.errors import UserError

# OpenMP reads these once, when xllamacpp's library is loaded. Its threads spin while they wait,
# which on a machine that does anything else makes two threads a hundred times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# Prefill and decode give bitwise equal logits only with flash attention and batches below 64.
# A resumed answer then continues as the uninterrupted one would have, and a cancelled prefill
# stops after at most this many tokens. Prefill keeps 0.8 of the speed it has at 512.
BATCH_UNITS = 32
# Every running job takes one place in a batch; the rest must leave room for prompts.
CONCURRENCY_MAX = 16
# unix(7): `sun_path` has 108 bytes on Linux; macOS has 104, the ending zero included.
SOCKET_NAME_BYTES_MAX = 103


class LlamaServer(Protocol):
    """The part of ``xllamacpp.Server`` that is used here."""

    def handle_completions(self, prompt: bytes, callback: Callable[[bytes], bool]) -> None:
        """Completes a request; blocks to its end, or until ``callback`` says true to cancel.

        Raises:
            ValueError, RuntimeError: What xllamacpp makes of C++ exceptions.
        """


def socket_file(directory: Path) -> str:
    """Name of the socket in ``directory``.

    Raises:
        UserError: It is longer than the system allows.
    """
    name = str(directory / "llama.sock")
    if len(os.fsencode(name)) > SOCKET_NAME_BYTES_MAX:
        raise UserError(
            f"{name} is too long for a socket's name: set TMPDIR to a directory with a shorter one"
        )
    return name


def build_name() -> str:
    """Name and version for the offer, such as ``llama.cpp 11549``."""
    return f"llama.cpp {version('xllamacpp').rpartition('.')[2]}"


def load_server(
    model_file: Path,
    listen_file: str,
    key: str,
    threads: int,
    concurrency: int,
    context_units: int,
    embeds: bool,
) -> LlamaServer:
    """Loads a model; takes long, so it runs in a thread.

    Args:
        model_file: A verified GGUF file.
        listen_file: Socket to listen at; ends in ``.sock``.
        key: What a request must show there.
        threads: CPU threads.
        concurrency: Jobs at the same time.
        context_units: Tokens of context for each of them.
        embeds: Whether it makes vectors, as the mean of what it makes of each token; then it
            writes no text.

    Raises:
        UserError: The file is no model that llama.cpp knows, or one that does not fit.
    """
    import xllamacpp

    # A former life of the engine leaves its socket behind, and llama.cpp does not replace it.
    Path(listen_file).unlink(missing_ok=True)
    params: Any = xllamacpp.CommonParams()
    params.model.path = str(model_file)
    # A name that ends in .sock makes llama.cpp listen there instead of on a port.
    params.hostnames = [listen_file]
    params.api_keys = [key]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel = concurrency
    params.n_ctx = context_units * concurrency
    params.n_batch = params.n_ubatch = BATCH_UNITS
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    if embeds:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        # The mean is over one batch.
        params.n_batch = params.n_ubatch = context_units
    # Never guess settings from free memory: they would change what the offer promised.
    params.fit_params = False
    # Prefixes are reused from the slots; the default keeps up to 8 GiB more of them.
    params.cache_ram_mib = 0
    # Every assistant turn is rendered whole; unfinished ones never get to the template.
    params.prefill_assistant = False
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    # Prompts must not reach a log.
    params.verbosity = -1
    try:
        server: LlamaServer = xllamacpp.Server(params)
    except RuntimeError as error:
        raise UserError(
            f"llama.cpp cannot load {model_file}: {error} Check that it is a model this version "
            f"knows, and that {concurrency} × {context_units} tokens of context fit in memory."
        ) from error
    # The server is made before its loop runs, and one that is dropped by then waits for its end
    # for ever. What has gone through the loop once shows that it runs.
    server.handle_completions(b'{"prompt":[0],"n_predict":0}', lambda _: False)
    return server
