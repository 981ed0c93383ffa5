"""Asks the daemon of a home, over its control socket; it may be of another version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import trio

import rowen
from rowen.home import Home
from rowen.protocol.errors import Unavailable, UserError
from rowen.provider.control import UNREADABLE, Answer, Request, read_line

LINE_BYTES_MAX = 16 << 20
"""The books of many years, line by line, and nothing larger."""
ANSWER_S = 300.0

R = TypeVar("R", bound=msgspec.Struct)


class OtherVersion(UserError):
    """The daemon answered in words that this version does not know.

    Attributes:
        rowen: Its version, or empty.
        told: What it answered.
    """

    def __init__(self, version: str, told: Mapping[str, Any], why: str) -> None:
        super().__init__(
            f"it is Rowen {version or 'of another version'}, this command is Rowen "
            f"{rowen.__version__} and cannot read its answer ({why}). Whatever the node was asked "
            "to do, it did: restart it with this version, or use the `rowen` that started it"
        )
        self.rowen = version
        self.told = told


async def ask_daemon(home: Home, do: str, **arguments: Any) -> dict[str, Any] | None:
    """Asks the daemon of a home, and takes what it says as it comes.

    Args:
        home: Whose.
        do: ``status``, ``settle``, ``export``…
        arguments: Of the command.

    Returns:
        Its answer, or None when no daemon runs there.

    Raises:
        UserError: The daemon says what is wrong, or the home is closed to this user.
        Unavailable: It failed, or does not answer.
    """
    answer = await _ask(home, do, arguments)
    return None if answer is None else _told(answer)


async def ask_as(home: Home, kind: type[R], do: str, **arguments: Any) -> R | None:
    """Asks the daemon of a home for a report.

    Args:
        home: Whose.
        kind: Of the report.
        do: ``status``, ``settle``, ``export``…
        arguments: Of the command.

    Returns:
        The report, or None when no daemon runs there.

    Raises:
        OtherVersion: It is another version's, and cannot be read.
        UserError: The daemon says what is wrong, or the home is closed to this user.
        Unavailable: It failed, or does not answer.
    """
    answer = await _ask(home, do, arguments)
    if answer is None:
        return None
    told = _told(answer)
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise OtherVersion(answer.rowen, told, str(error)) from error


async def _ask(home: Home, do: str, arguments: Mapping[str, Any]) -> Answer | None:
    try:
        stream = await trio.open_unix_socket(str(home.control_socket))
    except PermissionError as error:
        raise UserError(
            f"{home.path} is another user's, and this command may not enter it: run it as the "
            "user of the node, or name --home"
        ) from error
    except (OSError, ValueError):
        return None
    async with stream:
        try:
            with trio.fail_after(ANSWER_S):
                request = Request(do, dict(arguments))
                await stream.send_all(msgspec.json.encode(request) + b"\n")
                line = await read_line(stream, LINE_BYTES_MAX)
                answer = msgspec.json.decode(line, type=Answer)
        except (trio.TooSlowError, trio.BrokenResourceError, *UNREADABLE) as error:
            raise Unavailable("the daemon does not answer") from error
    if answer.error:
        fault = UserError if answer.kind in ("UserError", "Reverted") else Unavailable
        raise fault(answer.error)
    return answer


def _told(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.json.decode(answer.result)
    return told
