"""The contracts as they were compiled: code, storage, events and errors. Pure; needs no web3.

What a call looks like is in ``rowen.chain.calls``, which is made from the same files. Decoding
a log by hand is 20 times faster than web3's; ``tests/test_assumptions_chain.py`` holds it
against web3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from rowen.chain.codec import WORD, selector
from rowen.chain.events import (
    Bonded,
    Claimed,
    Event,
    Locked,
    PayoutChanged,
    PayoutRequested,
    PayoutVetoed,
    Released,
    RowSkipped,
    SkipReason,
    Slashed,
    UnbondCancelled,
    UnbondRequested,
    UnlockCancelled,
    Unlocked,
    UnlockRequested,
    Withdrawn,
)
from rowen.chain.refusals import Reverted
from rowen.protocol.fraud import Offence
from rowen.protocol.ids import keccak


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract, as ``contracts/tools/export_abi.py`` wrote it.

    Attributes:
        abi: The compiler's JSON ABI.
        bytecode: What a deployment sends, without constructor arguments.
        deployed: What stands on chain, with zeros where immutables go.
        immutables: For each immutable, (start, length) of the places that hold its value.
        variable_to_slot: Where the layout puts each storage variable.
        source_sha256: Of everything the code depends on; see the exporting script.
    """

    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed: bytes
    immutables: tuple[tuple[tuple[int, int], ...], ...]
    variable_to_slot: dict[str, int]
    source_sha256: str

    def matches(self, code: bytes) -> bool:
        """Whether ``code`` is this contract, whatever its immutables."""
        return self.masked(code) == self.masked(self.deployed)

    def masked(self, code: bytes) -> bytes:
        """The code with zeros where immutables go."""
        masked = bytearray(code)
        for places in self.immutables:
            for start, length in places:
                masked[start : start + length] = bytes(length)
        return bytes(masked)


@cache
def artifact(contract: str) -> Artifact:
    """``RowenEscrow``, ``RowenStake``, ``WalletDeployer`` or ``TestUSDC``."""
    path = resources.files("rowen.chain") / "abi" / f"{contract}.json"
    built = json.loads(path.read_bytes())
    references = built["immutableReferences"].values()
    return Artifact(
        abi=built["abi"],
        bytecode=bytes.fromhex(built["bytecode"].removeprefix("0x")),
        deployed=bytes.fromhex(built["deployedBytecode"].removeprefix("0x")),
        immutables=tuple(
            tuple((place["start"], place["length"]) for place in places) for places in references
        ),
        variable_to_slot=built["storage"],
        source_sha256=built["source_sha256"],
    )


def encode_words(*values: int | bytes) -> bytes:
    """Each value in a 32-byte word; bytes shorter than that (addresses) on its right.

    Raises:
        ValueError: A value does not fit a word.
    """
    try:
        return b"".join(
            value.rjust(WORD, b"\0") if isinstance(value, bytes) else value.to_bytes(WORD, "big")
            for value in values
        )
    except OverflowError as error:
        raise ValueError(f"a value is outside uint256: {error}") from error


def _event_table(contract: str, kinds: Sequence[type[Event]]) -> dict[bytes, _Shape]:
    """From a log's first topic to how it is read.

    A class is named as its event, and its own fields stand in the order of the arguments,
    indexed ones first; a difference from the ABI is a defect that shows on import.
    """
    entries = {e["name"]: e for e in artifact(contract).abi if e["type"] == "event"}
    table = {}
    for kind in kinds:
        inputs = entries[kind.__name__]["inputs"]
        names = [field.name for field in fields(kind)][len(fields(Event)) :]
        indexed = [argument["indexed"] for argument in inputs]
        assert indexed == sorted(indexed, reverse=True), f"{kind.__name__}: indexed come first"
        signature = f"{kind.__name__}({','.join(argument['type'] for argument in inputs)})"
        arguments = tuple(
            (name, _KIND_OF_ENUM.get(argument["internalType"], argument["type"]))
            for name, argument in zip(names, inputs, strict=True)
        )
        table[keccak(signature.encode())] = _Shape(kind, sum(indexed), arguments)
    return table


class _Shape(NamedTuple):
    kind: type[Event]
    indexed: int
    arguments: tuple[tuple[str, str], ...]


_REASON: Final = "reason"
_OFFENCE: Final = "offence"
_KIND_OF_ENUM: Final = {"enum SkipReason": _REASON, "enum Offence": _OFFENCE}

ESCROW_EVENTS: Final = (
    Locked, Claimed, RowSkipped, PayoutRequested, PayoutChanged, PayoutVetoed,
    UnlockRequested, UnlockCancelled, Unlocked, Released,
)  # fmt: skip
STAKE_EVENTS: Final = (Bonded, UnbondRequested, UnbondCancelled, Withdrawn, Slashed)

_TOPIC_TO_EVENT: Final = _event_table("RowenEscrow", ESCROW_EVENTS)
_TOPIC_TO_STAKE_EVENT: Final = _event_table("RowenStake", STAKE_EVENTS)
_KIND_TO_TOPIC: Final = {shape.kind: topic for topic, shape in _TOPIC_TO_EVENT.items()}


def topic_of(kind: type[Event]) -> bytes:
    """First topic of the logs of an event, 32 bytes."""
    return _KIND_TO_TOPIC[kind]


def decode_event(
    topics: Sequence[bytes], data: bytes, *, block: int, index: int, tx_hash: bytes
) -> Event | None:
    """One log of the escrow as a value; None if it is none of the escrow's events.

    Raises:
        ValueError: It has such an event's topic and not its shape.
    """
    return _decode(_TOPIC_TO_EVENT, topics, data, block=block, index=index, tx_hash=tx_hash)


def decode_stake_event(
    topics: Sequence[bytes], data: bytes, *, block: int, index: int, tx_hash: bytes
) -> Event | None:
    """One log of the stake as a value; None if it is none of the stake's events.

    Raises:
        ValueError: It has such an event's topic and not its shape.
    """
    return _decode(_TOPIC_TO_STAKE_EVENT, topics, data, block=block, index=index, tx_hash=tx_hash)


def _decode(
    table: Mapping[bytes, _Shape], topics: Sequence[bytes], data: bytes, **place: Any
) -> Event | None:
    found = table.get(topics[0]) if topics else None
    if found is None:
        return None
    kind, indexed, arguments = found
    words = b"".join(topics[1:]) + data
    if len(topics) != 1 + indexed or len(words) != WORD * len(arguments):
        raise ValueError(
            f"{kind.__name__} log has {len(topics)} topics and {len(data)} bytes of data"
        )
    values: dict[str, Any] = {}
    for position, (name, kind_of_value) in enumerate(arguments):
        values[name] = _decode_word(kind_of_value, words[WORD * position : WORD * (position + 1)])
    return kind(**place, **values)


def _decode_word(kind: str, word: bytes) -> int | bytes:
    if kind == "bytes32":
        return word
    if kind == "address":
        return word[12:]
    number = int.from_bytes(word, "big")
    if kind == _OFFENCE:
        return Offence(number)
    return SkipReason(number) if kind == _REASON else number


@cache
def _selector_to_error() -> dict[bytes, tuple[str, tuple[str, ...]]]:
    # An error of one name has one meaning in all of them, and so one selector.
    return {
        selector(entry["name"], kinds): (entry["name"], kinds)
        for contract in ("RowenEscrow", "RowenStake", "TestUSDC")
        for entry in artifact(contract).abi
        if entry["type"] == "error"
        for kinds in [tuple(argument["type"] for argument in entry["inputs"])]
    }


# What `require(condition, "words")` returns; USDC and most older tokens know no other errors.
_ERROR_OF_WORDS: Final = selector("Error", ("string",))
_WORDS_MAX: Final = 200


def _words_of(data: bytes) -> str:
    """The text of ``Error(string)``, harmless to a terminal; "" when it is malformed."""
    length = int.from_bytes(data[WORD : 2 * WORD], "big")
    raw = data[2 * WORD :][: min(length, _WORDS_MAX)]
    text = "".join(
        char if char.isprintable() else "\ufffd" for char in raw.decode(errors="replace")
    )
    return f'"{text}"' if text else ""


def decode_revert(call: str, data: bytes) -> Reverted:
    """The error a reverted call returned, named as in the contracts.

    Args:
        call: What was called, for the message.
        data: What the call returned; may be empty or somebody else's.
    """
    if data[:4] == _ERROR_OF_WORDS:
        return Reverted(call, "", words=_words_of(data[4:]))
    name, kinds = _selector_to_error().get(data[:4], ("", ()))
    words = data[4:]
    if len(words) != WORD * len(kinds):
        return Reverted(call, name or f"0x{data[:4].hex()}")
    arguments = [
        _decode_word(kind, words[WORD * i : WORD * (i + 1)]) for i, kind in enumerate(kinds)
    ]
    return Reverted(call, name or (f"0x{data[:4].hex()}" if data else ""), tuple(arguments))
