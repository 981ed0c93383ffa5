"""What a daemon can be asked over its control socket, and with which arguments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

import rowen
from rowen.protocol.errors import UserError
from rowen.provider.control import Answerer
from rowen.provider.earnings import Grouping

Action = Literal[
    "payout-apply", "payout-veto", "stake-bond", "stake-unbond", "stake-cancel", "stake-withdraw"
]


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No arguments; the base of those that are some.

    What this version does not know is refused: to leave out "only look" would be to send.
    """


class Settling(Nothing, frozen=True):
    """Of ``settle``: whether to sweep, too."""

    sweep: bool = False


class Counting(Nothing, frozen=True):
    """Of ``earnings``; days as ``parse_day`` reads them."""

    by: Grouping = "day"
    since: str | None = None
    until: str | None = None


class Withdrawing(Nothing, frozen=True):
    """Of ``withdraw``: whether to send, or only to look."""

    is_wished: bool = False


class PayingOut(Nothing, frozen=True):
    """Of ``payout``: the address that is wanted."""

    payout: str | None = None


class Switching(Nothing, frozen=True):
    """Of ``pause`` and ``resume``: beginnings of UUIDs; none for the whole node."""

    gpus: list[str] = []


class Exporting(Nothing, frozen=True):
    """Of ``export``: where to, and which channels' ids; none for all."""

    path: str
    channels: list[str] = []


class Acting(Nothing, frozen=True):
    """Of ``act``: one transaction of the operator key.

    Attributes:
        action: Which.
        provider: Whose payout or stake, an address.
        amount: Token units as text, where the action takes some.
    """

    action: Action
    provider: str
    amount: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,29}$")] = "0"


A = TypeVar("A", bound=Nothing)


def question(kind: type[A], answer: Callable[[A], Awaitable[msgspec.Struct]]) -> Answerer:
    """An answerer that is asked only what it understands.

    Args:
        kind: Of the arguments.
        answer: Gets them.
    """

    async def answerer(arguments: Mapping[str, Any]) -> msgspec.Struct:
        try:
            asked = msgspec.convert(dict(arguments), kind)
        except msgspec.ValidationError as error:
            raise UserError(
                f"this node is Rowen {rowen.__version__} and does not understand the question "
                f"({error}): restart it with the version of the command that asks"
            ) from error
        return await answer(asked)

    return answerer
