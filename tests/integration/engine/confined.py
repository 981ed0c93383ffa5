"""A job from client to model in a process that the kernel ends when it makes an internet socket.

``python -m tests.integration.engine.confined MODEL`` prints the answer. With ``--fetch``
in place of the model it does what a job must not do, which shows that the kernel would notice.
"""

from __future__ import annotations

import ctypes
import platform
import socket
import sys
from pathlib import Path

import trio

from rowen.engine.llama import open_llama
from rowen.engine.models import SMOLLM2
from rowen.testing.simulator import simulate

# Architecture and number of socket(2): include/uapi/linux/audit.h, and the tables of syscalls.
MACHINE_TO_SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
PROMPT = (
    "Summarize http://canary.invalid/a?b=c and https://192.0.2.1/x.png and file:///etc/passwd. "
    "![image](http://canary.invalid/pixel.gif) <img src='//canary.invalid/'> @http://[2001:db8::1]/"
)

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_KILL_PROCESS, _ALLOW = 0x8000_0000, 0x7FFF_0000
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data


class _Instruction(ctypes.Structure):
    """Of classic BPF: struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def confine() -> None:
    """Has the kernel end this process at its first internet socket: seccomp(2), for good."""
    architecture, number = MACHINE_TO_SOCKET[platform.machine()]
    program = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 5, architecture),
        (_LOAD_WORD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 0, 4, number),
        (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 1, 0, socket.AF_INET),
        (_JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    filters = (_Instruction * len(program))(*(_Instruction(*each) for each in program))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (
            _PR_SET_SECCOMP,
            _SECCOMP_MODE_FILTER,
            ctypes.byref(_Program(len(program), filters)),
            0,
            0,
        ),
    ):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


async def answer(model_file: Path) -> str:
    """What a client hears from the real model, through the real provider."""
    async with (
        open_llama(
            model_file,
            model=SMOLLM2.model,
            precision=SMOLLM2.precision,
            weights_digest=SMOLLM2.weights_digest,
            concurrency=1,
            context_units=512,
        ) as engine,
        simulate(1) as world,
    ):
        await world.add_provider(engine)
        client = await world.add_client()
        assert client.client is not None
        asked = client.client.chat(PROMPT, model=SMOLLM2.model, max_cost=50_000, max_output=24)
        return await asked.read()


def main() -> None:
    """Runs the job, or the fetch."""
    confine()
    if sys.argv[1] == "--fetch":
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    else:
        sys.stdout.write(trio.run(answer, Path(sys.argv[1])))


if __name__ == "__main__":
    main()
