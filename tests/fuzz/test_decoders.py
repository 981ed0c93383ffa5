"""Whatever a peer sends, a decoder returns or says PeerError. P12, threats 42, 44, 45, 46."""

import random
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import profiles
from tests.interop.make_vectors import DOMAIN, ENCODED_INPUT, NOW_MS, OPERATOR, example_messages
from tests.unit.protocol import build

from rowen.protocol import messages, offers
from rowen.protocol.errors import PeerError
from rowen.protocol.framing import FrameDecoder, encode_frames
from rowen.protocol.ids import address_of_peer_id
from rowen.protocol.signing import recover

EXAMPLES = example_messages()
BUYER_SAYS = (messages.Attach, messages.Submit, messages.Pay, messages.Cancel, messages.Disputed)
BUYER_SEEDS = [messages.encode(said) for said in EXAMPLES if isinstance(said, BUYER_SAYS)]
SELLER_SEEDS = [messages.encode(said) for said in EXAMPLES if not isinstance(said, BUYER_SAYS)]


def read_hello(raw: bytes) -> Any:
    """The whole way of an offer."""
    said = messages.decode_from_provider(raw)
    if isinstance(said, messages.Hello):
        return offers.read_offer(said, DOMAIN, OPERATOR.address, NOW_MS)
    return said


def frames(raw: bytes) -> Any:
    return FrameDecoder().feed(raw)


# What is fuzzed, and a valid input of it to begin from.
TARGETS: dict[str, tuple[Callable[[bytes], Any], list[bytes]]] = {
    "what a client says": (messages.decode_from_client, BUYER_SEEDS),
    "what a provider says": (messages.decode_from_provider, SELLER_SEEDS),
    "an offer": (read_hello, SELLER_SEEDS[:1]),
    "an offer's content": (offers._read_content, [EXAMPLES[0].content]),
    "a job input": (messages.decode_input, [ENCODED_INPUT]),
    "a signature": (lambda raw: recover(b"\x01" * 32, raw), [OPERATOR.sign(b"\x01" * 32)]),
    "a peer id": (
        lambda raw: address_of_peer_id(raw.decode("latin-1")),
        [OPERATOR.peer_id.encode()],
    ),
    "frames": (frames, [encode_frames(BUYER_SEEDS[:3])]),
} | {
    f"the words of {type(statement).__name__}": (type(statement).decode, [statement.encode()])
    for statement in build.STATEMENTS
}
EACH = pytest.mark.parametrize("target", TARGETS)


def survives(target: str, raw: bytes) -> None:
    decode, _ = TARGETS[target]
    started, complaint = time.process_time(), ""
    try:
        decode(raw)
    except PeerError as error:
        complaint = str(error)
    # What the peer chose does not fill the log either.
    assert len(complaint) < 1_000
    assert time.process_time() - started < 0.1


@EACH
@given(raw=st.binary(max_size=400))
def test_noise(target: str, raw: bytes) -> None:
    survives(target, raw)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers(-5, 5), inner, max_size=4)
    ),
    max_leaves=12,
)


@EACH
@given(value=PLAIN)
def test_other_messagepack(target: str, value: Any) -> None:
    survives(target, msgpack.packb(value))


KEYS = ["t", "job", "input_units", "voucher", "order", "salt", "input", "words", "signature", "at"]


@EACH
@given(
    tag=st.sampled_from(["hello", "attach", "submit", "pay", "chunk", "bill", "chat", "no"]),
    fields=st.dictionaries(st.sampled_from(KEYS), PLAIN, max_size=6),
)
def test_messages_with_wrong_fields(target: str, tag: str, fields: dict[str, Any]) -> None:
    survives(target, msgpack.packb({"t": tag} | fields))


def mutants(seed: bytes, dice: random.Random, count: int) -> list[bytes]:
    """The seed with bytes turned, cut out, doubled, or replaced by what decoders trip over."""
    tricky = [b"\xff", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 2_000]
    tricky += [b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\xc0", b"\xca\x7f\xc0\x00\x00"]
    made = []
    for _ in range(count):
        raw = bytearray(seed)
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(len(raw) + 1)
            length = dice.choice((0, 1, 1, 4, 32))
            piece = dice.choice(
                (dice.randbytes(length), dice.choice(tricky), bytes(raw[at : at + length]) * 2)
            )
            raw[at : at + length] = piece
        made.append(bytes(raw))
    return made


@EACH
def test_mutants_of_valid_input(target: str) -> None:
    """Seeded; ROWEN_LONG=1 makes a million of them."""
    _, seeds = TARGETS[target]
    dice = random.Random(target)
    each = (80_000 if profiles.IS_LONG else 1_500) // len(seeds)
    for seed in seeds:
        for raw in mutants(seed, dice, each):
            survives(target, raw)


@EACH
def test_every_byte_turned(target: str) -> None:
    """Each position with the values that begin a MessagePack type."""
    decode, seeds = TARGETS[target]
    seed = seeds[0]
    step = 1 if profiles.IS_LONG else max(1, len(seed) // 150)
    for at in range(0, len(seed), step):
        for value in (0x00, 0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xC4, 0xC7, 0xCA, 0xD9, 0xDD, 0xFF):
            survives(target, seed[:at] + bytes((value,)) + seed[at + 1 :])
    assert decode(seed)
