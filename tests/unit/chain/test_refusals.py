"""What people are told when a contract refuses a call."""

from __future__ import annotations

import pytest

from rowen.chain.codec import encode, selector
from rowen.chain.contract import artifact, decode_revert
from rowen.chain.refusals import Reverted, advice

# Only the constructors, a defect of ours, or a provider's own release can provoke these, or
# `audit report` and `claim` judge before they send.
SILENT = {
    "BadRowsLength", "ChannelMismatch", "CreditTooLarge", "DelayOutOfRange",
    "ERC20InvalidApprover", "ERC20InvalidReceiver", "ERC20InvalidSender", "ERC20InvalidSpender",
    "EscrowHasNoCode", "InvalidAccountNonce", "InvalidShortString", "LockTooLarge", "NotFailed",
    "NotProvider", "NothingCharged", "PermitSignerMismatch", "ReceiptSignerMismatch",
    "ReentrancyGuardReentrantCall", "ReleaseExceedsLock", "ReleaseExpired",
    "ReleaseSignerMismatch", "ReleaseUsed", "SafeCastOverflowedUintDowncast",
    "SafeERC20FailedOperation", "SameReceipt", "SequencesDiffer", "SequencesNotConsecutive",
    "StringTooLong", "TokenHasNoCode", "TotalsAddUp", "UnbondDelayOutOfRange",
}  # fmt: skip

ERRORS = {
    entry["name"]: tuple(argument["type"] for argument in entry["inputs"])
    for contract in ("RowenEscrow", "RowenStake", "TestUSDC")
    for entry in artifact(contract).abi
    if entry["type"] == "error"
}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_that_a_person_can_provoke_says_what_to_do(name: str) -> None:
    """With the error's own arguments, so that advice cannot ask for others."""
    values = tuple(
        bytes(20) if kind == "address" else bytes(32) if kind == "bytes32" else 5_000_000
        for kind in ERRORS[name]
    )
    assert bool(advice(name, values)) is (name not in SILENT), name


@pytest.mark.parametrize(
    ("error", "arguments", "words"),
    [
        ("LockBelowMinimum", (1, 2_500_000), "a channel is opened with $2.50 or more"),
        (
            "ERC20InsufficientBalance",
            (b"\x01" * 20, 1_000_000, 3_000_000),
            "0x0101010101010101010101010101010101010101 holds $1.00 and needs $3.00: send it some",
        ),
        ("UnbondExceedsBond", (7, 4_000_000), "$4.00 can be asked back"),
    ],
)
def test_advice_speaks_in_dollars_and_whole_addresses(
    error: str, arguments: tuple[int | bytes, ...], words: str
) -> None:
    message = str(Reverted("call", error, arguments))
    assert message.startswith(f"the contract refuses call: {error}(")
    assert words in message


def test_a_time_that_no_calendar_has_and_anothers_arguments_are_no_defect() -> None:
    for arguments in ((2**64 - 1, 0), (), (b"\x01" * 20, 0), (1, 2, 3)):
        assert advice("UnlockTooEarly", arguments) == ""
    assert str(Reverted("unlock", "UnlockTooEarly", (5,))) == (
        "the contract refuses unlock: UnlockTooEarly(5)"
    )


def test_the_words_of_a_contract_without_errors_are_shown_and_cannot_write_to_a_terminal() -> None:
    """USDC, like most tokens of its age, has no custom errors."""
    head = selector("Error", ("string",))

    def said(text: str) -> str:
        return str(decode_revert("lock", head + encode(("string",), (text,))))

    assert said("ERC20: transfer amount exceeds balance") == (
        'the contract refuses lock: "ERC20: transfer amount exceeds balance"'
    )
    assert said("\x1b[2Jred\u202e") == 'the contract refuses lock: "\ufffd[2Jred\ufffd"'
    assert len(said("x" * 9_999)) < 300
    assert "no reason given" in said("")
    for broken in (b"", b"\x20", b"\xff" * 64, bytes(31)):
        assert "no reason given" in str(decode_revert("lock", head + broken))
