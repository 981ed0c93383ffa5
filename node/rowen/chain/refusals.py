"""What the chain refuses, and what a person can do about it. Pure.

Advice is keyed by the name of a contract's error; the values are the error's own arguments, in
order. An error that has none can only be provoked by a defect, or needs none beyond its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address

Argument = int | bytes

_SIGN_ANEW: Final = "have the payer sign a new one, with `rowen channel sign`"
_NO_KEY: Final = "that is no signature of a key: give the payer's own, of 65 bytes"
_ASKED_BACK: Final = (
    "take that back with `rowen channel close PROVIDER --cancel`, or take the rest from {} on"
)


def advice(error: str, arguments: tuple[Argument, ...]) -> str:
    """What to do, without a full stop; "" when there is nothing to say.

    Args:
        error: Name of the contract's error.
        arguments: Its values; those of a foreign contract may be of any number and kind.
    """
    written = _ERROR_TO_ADVICE.get(error)
    if written is None:
        return ""
    try:
        return written if isinstance(written, str) else written(*arguments)
    except (TypeError, ValueError, OverflowError, OSError):
        # Another contract's error of the same name.
        return ""


def _usd(units: Argument) -> str:
    return format_usd(_number(units))


def _when(unix_s: Argument) -> str:
    moment = datetime.fromtimestamp(_number(unix_s)).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z")


def _who(address: Argument) -> str:
    if not isinstance(address, bytes):
        raise TypeError("no address")
    return format_address(address)


def _number(value: Argument) -> int:
    if not isinstance(value, int):
        raise TypeError("no number")
    return value


def _too_early(due_s: Argument, _now_s: Argument) -> str:
    return f"it can be done from {_when(due_s)} on"


def _expired(deadline_s: Argument, _now_s: Argument) -> str:
    return f"it was good until {_when(deadline_s)}: {_SIGN_ANEW}"


def _too_few_tokens(holder: Argument, held: Argument, needed: Argument) -> str:
    return f"{_who(holder)} holds {_usd(held)} and needs {_usd(needed)}: send it some"


def _too_little_allowed(spender: Argument, allowed: Argument, needed: Argument) -> str:
    return (
        f"the payer allows {_who(spender)} to take {_usd(allowed)}, and {_usd(needed)} is needed:"
        " it has to allow that first, or fund the channel another way with --by"
    )


def _no_signature(payer: Argument, _digest: Argument) -> str:
    return f"that is no signature of {_who(payer)} over exactly this: {_SIGN_ANEW}"


def _inexact(expected: Argument, received: Argument) -> str:
    return (
        f"the token moved {_number(received)} units where {_number(expected)} were asked for: it"
        " cannot be used"
    )


_ERROR_TO_ADVICE: Final[Mapping[str, str | Callable[..., str]]] = {
    "ZeroAddress": "0x00…00 is nobody: name an address that somebody has",
    "ZeroAmount": "name an amount above $0",
    "InexactTransfer": _inexact,
    "BalanceUnknown": "the token does not tell what an address holds: it cannot be used",
    "LockBelowMinimum": lambda _amount, least: f"a channel is opened with {_usd(least)} or more",
    "UnlockPending": lambda _channel, due_s: (
        f"the channel's rest was asked for: {_ASKED_BACK.format(_when(due_s))}"
    ),
    "UnlockNotPending": (
        "the channel's rest was not asked for: `rowen channel close PROVIDER` does that"
    ),
    "UnlockTooEarly": _too_early,
    "NothingLocked": "nothing is left in the channel",
    "NothingToSweep": "there is no credit to send: `rowen settle` claims what is owed",
    "OtherUnlockPending": f"the request that this takes back is gone: {_SIGN_ANEW}",
    "PayoutNotPending": "no new payout address waits",
    "PayoutTooEarly": _too_early,
    "NotPayoutAddress": lambda payout, caller: (
        f"only the wallet {_who(payout)} may do that, not {_who(caller)}: run this in its home"
    ),
    "AuthorizationExpired": _expired,
    "AuthorizationInvalid": _no_signature,
    "AuthorizationUsed": f"it was sent or revoked before: {_SIGN_ANEW}",
    "BondBelowPenalty": lambda _bonded, penalty: f"a bond is {_usd(penalty)} or more in all",
    "UnbondExceedsBond": lambda _amount, active: (
        f"{_usd(active)} can be asked back, beside what is leaving already"
    ),
    "UnbondNotPending": "nothing was asked back: `rowen stake unbond USD` does that",
    "UnbondTooEarly": _too_early,
    "OffencePunished": "this offence was paid for: there is nothing to report",
    "NothingBonded": "the provider has nothing at stake now; the proof stays good",
    # The token's own; OpenZeppelin's names, which EIP-6093 fixes.
    "ERC20InsufficientBalance": _too_few_tokens,
    "ERC20InsufficientAllowance": _too_little_allowed,
    "ECDSAInvalidSignature": _NO_KEY,
    "ECDSAInvalidSignatureLength": _NO_KEY,
    "ECDSAInvalidSignatureS": _NO_KEY,
    "ERC3009InvalidSignature": f"that is no signature of the payer over exactly this: {_SIGN_ANEW}",
    "ERC3009UsedAuthorization": f"it was sent or cancelled before: {_SIGN_ANEW}",
    "ERC3009InvalidAuthorizationTime": f"it is not good at this time: {_SIGN_ANEW}",
    "PermitExpired": _expired,
}


class Reverted(UserError):
    """The contract refuses the call. No transaction was sent, or one was and changed nothing.

    Attributes:
        error: The contract's error name, such as ``UnlockTooEarly``; "" when it gave none.
        arguments: Its values, in order: ints, and bytes for addresses and hashes.
    """

    def __init__(
        self,
        call: str,
        error: str,
        arguments: tuple[int | bytes, ...] = (),
        *,
        words: str = "",
    ) -> None:
        """As the contract says it, and what can be done about it.

        Args:
            call: What was called.
            error: See the class.
            arguments: See the class.
            words: What a contract without errors of its own says instead.
        """
        shown = ", ".join(f"0x{a.hex()}" if isinstance(a, bytes) else str(a) for a in arguments)
        todo = advice(error, arguments)
        super().__init__(
            f"the contract refuses {call}: "
            + (f"{error}({shown})" if error else words or "no reason given")
            + (f": {todo}" if todo else "")
        )
        self.error = error
        self.arguments = arguments


class TooFewTokens(UserError):
    """A wallet holds less of the escrow's token than a call needs. Nothing was sent."""

    def __init__(self, holder: bytes, missing: int, purpose: str) -> None:
        """What is missing.

        Args:
            holder: 20 bytes.
            missing: Token units.
            purpose: Such as ``to lock $5.00``.
        """
        super().__init__(
            f"{format_address(holder)} needs {format_usd(missing)} more of the escrow's token"
            f" {purpose}: send it some"
        )


class TooLittleGas(UserError):
    """A key cannot pay for a transaction. Nothing was sent."""

    def __init__(self, sender: bytes, missing_wei: int, chain_id: int) -> None:
        """What is missing."""
        super().__init__(
            f"{format_address(sender)} needs {missing_wei} more wei for gas"
            f" ({missing_wei / 10**18:.6f} coin) on chain {chain_id}: send it some"
        )
