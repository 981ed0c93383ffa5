"""The contracts' ABI by hand: call data out, events and errors in. Pure; needs no web3.

All arguments of our calls but one are single 32-byte words, so an encoder is four lines, and
decoding a log by hand is 20 times faster than web3's. ``tests/test_assumptions_chain.py``
holds both against web3. Source: https://docs.soliditylang.org/en/v0.8.37/abi-spec.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Final

from rowen.chain.base import Reverted
from rowen.chain.events import (
    Claimed,
    Event,
    Locked,
    PayoutChanged,
    PayoutRequested,
    PayoutVetoed,
    Released,
    RowSkipped,
    SkipReason,
    Swept,
    UnlockCancelled,
    Unlocked,
    UnlockRequested,
)
from rowen.protocol.ids import keccak

WORD: Final = 32


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract, as ``contracts/tools/export_abi.py`` wrote it.

    Attributes:
        abi: The compiler's JSON ABI.
        bytecode: What a deployment sends, without constructor arguments.
        deployed: What stands on chain, with zeros where immutables go.
        immutables: (start, length) of each place that holds an immutable.
        variable_to_slot: Where the layout puts each storage variable.
    """

    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed: bytes
    immutables: tuple[tuple[int, int], ...]
    variable_to_slot: dict[str, int]

    def matches(self, code: bytes) -> bool:
        """Whether ``code`` is this contract, whatever its immutables."""
        return self._masked(code) == self._masked(self.deployed)

    def _masked(self, code: bytes) -> bytes:
        masked = bytearray(code)
        for start, length in self.immutables:
            masked[start : start + length] = bytes(length)
        return bytes(masked)


@cache
def artifact(contract: str) -> Artifact:
    """``RowenEscrow`` or ``TestUSDC``."""
    path = resources.files("rowen.chain") / "abi" / f"{contract}.json"
    built = json.loads(path.read_bytes())
    references = [place for places in built["immutableReferences"].values() for place in places]
    return Artifact(
        abi=built["abi"],
        bytecode=bytes.fromhex(built["bytecode"].removeprefix("0x")),
        deployed=bytes.fromhex(built["deployedBytecode"].removeprefix("0x")),
        immutables=tuple((place["start"], place["length"]) for place in references),
        variable_to_slot=built["storage"],
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


def encode_call(signature: str, *values: int | bytes) -> bytes:
    """Call data for a function whose arguments are all single words.

    Args:
        signature: Such as ``sweep(address)``.
        values: Its arguments.
    """
    return keccak(signature.encode())[:4] + encode_words(*values)


def encode_claim(provider: bytes, rows: bytes) -> bytes:
    """Call data of ``claim(address,bytes)``."""
    padding = bytes(-len(rows) % WORD)
    head = encode_call("claim(address,bytes)", provider, 2 * WORD, len(rows))
    return head + rows + padding


_ADDRESS, _BYTES32, _UINT, _REASON = "address", "bytes32", "uint", "reason"

# Event class → (signature, indexed arguments, kind of each argument). Indexed arguments
# come first in all of them, and arguments stand in the order of the class's own fields.
_EVENTS: Final[dict[type[Event], tuple[str, int, tuple[str, ...]]]] = {
    Locked: (
        "Locked(bytes32,address,address,address,uint96,uint96)",
        3,
        (_BYTES32, _ADDRESS, _ADDRESS, _ADDRESS, _UINT, _UINT),
    ),
    Claimed: (
        "Claimed(address,address,address,uint96,uint32,bytes32)",
        2,
        (_ADDRESS, _ADDRESS, _ADDRESS, _UINT, _UINT, _BYTES32),
    ),
    RowSkipped: ("RowSkipped(address,uint256,uint8)", 2, (_ADDRESS, _UINT, _REASON)),
    Swept: ("Swept(address,address,uint256)", 2, (_ADDRESS, _ADDRESS, _UINT)),
    PayoutRequested: (
        "PayoutRequested(address,address,uint64)",
        2,
        (_ADDRESS, _ADDRESS, _UINT),
    ),
    PayoutChanged: ("PayoutChanged(address,address)", 2, (_ADDRESS, _ADDRESS)),
    PayoutVetoed: ("PayoutVetoed(address,address)", 2, (_ADDRESS, _ADDRESS)),
    UnlockRequested: ("UnlockRequested(bytes32,uint64)", 1, (_BYTES32, _UINT)),
    UnlockCancelled: ("UnlockCancelled(bytes32)", 1, (_BYTES32,)),
    Unlocked: ("Unlocked(bytes32,uint96)", 1, (_BYTES32, _UINT)),
    Released: ("Released(bytes32,uint96)", 1, (_BYTES32, _UINT)),
}

_TOPIC_TO_EVENT: Final = {
    keccak(signature.encode()): (
        kind,
        indexed,
        tuple(
            zip([field.name for field in fields(kind)][len(fields(Event)) :], kinds, strict=True)
        ),
    )
    for kind, (signature, indexed, kinds) in _EVENTS.items()
}


def topic_of(kind: type[Event]) -> bytes:
    """First topic of the logs of an event, 32 bytes."""
    return keccak(_EVENTS[kind][0].encode())


def decode_event(
    topics: Sequence[bytes], data: bytes, *, block: int, index: int, tx_hash: bytes
) -> Event | None:
    """One log of the escrow as a value; None if it is none of the escrow's events.

    Raises:
        ValueError: It has such an event's topic and not its shape.
    """
    found = _TOPIC_TO_EVENT.get(topics[0]) if topics else None
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
    return kind(block=block, index=index, tx_hash=tx_hash, **values)


def _decode_word(kind: str, word: bytes) -> int | bytes:
    if kind == _BYTES32:
        return word
    if kind == _ADDRESS:
        return word[12:]
    number = int.from_bytes(word, "big")
    return SkipReason(number) if kind == _REASON else number


@cache
def _selector_to_error() -> dict[bytes, tuple[str, tuple[str, ...]]]:
    entries = [*artifact("RowenEscrow").abi, *artifact("TestUSDC").abi]
    table = {}
    for entry in entries:
        if entry["type"] == "error":
            kinds = tuple(argument["type"] for argument in entry["inputs"])
            signature = f"{entry['name']}({','.join(kinds)})"
            table[keccak(signature.encode())[:4]] = (entry["name"], kinds)
    return table


def decode_revert(call: str, data: bytes) -> Reverted:
    """The error a reverted call returned, named as in the contracts.

    Args:
        call: What was called, for the message.
        data: What the call returned; may be empty or somebody else's.
    """
    name, kinds = _selector_to_error().get(data[:4], ("", ()))
    words = data[4:]
    if len(words) != WORD * len(kinds):
        return Reverted(call, name or f"0x{data[:4].hex()}")
    arguments = [
        _decode_word(_UINT if kind.startswith("uint") else kind, words[WORD * i : WORD * (i + 1)])
        for i, kind in enumerate(kinds)
    ]
    return Reverted(call, name or (f"0x{data[:4].hex()}" if data else ""), tuple(arguments))
