"""Messages: one encoding, the same as everybody's MessagePack, and bounded. P12, threats 45, 46."""

import math
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, cast

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.interop.make_vectors import INPUT, example_messages
from tests.unit.protocol import build

from rowen.protocol import messages, offers
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.jobs import (
    ChatInput,
    CompletionInput,
    EmbeddingsInput,
    JobInput,
    Kind,
    Message,
    OcrInput,
    kind_of,
)
from rowen.protocol.messages import (
    Accepted,
    Attach,
    Attached,
    Bill,
    Cancel,
    Chunk,
    Disputed,
    Hello,
    No,
    Pay,
    Submit,
)

EXAMPLES = example_messages()
INPUTS: list[JobInput] = [
    INPUT,
    CompletionInput("Once upon a time", temperature=0.5, seed=7, stop=("\n\n",)),
    EmbeddingsInput(("a rowen", "a second crop of hay")),
    OcrInput((b"a picture", b"another")),
]
FROM_PROVIDER = (Hello, Attached, Accepted, No, Chunk, Bill)
SECOND_S, MEBIBYTE = 1.0, 1 << 20


def decoder_of(message: Any) -> Callable[[bytes], Any]:
    if isinstance(message, FROM_PROVIDER):
        return messages.decode_from_provider
    return messages.decode_from_client


EACH = pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
DECODERS = [
    messages.decode_from_client,
    messages.decode_from_provider,
    messages.decode_input,
    offers._read_content,
]


def plain(value: Any) -> Any:
    """A message as the maps and arrays that any MessagePack library makes of it."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        return tag | {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def test_there_is_an_example_of_every_message() -> None:
    known = {Hello, Attach, Attached, Submit, Accepted, No, Chunk, Bill, Pay, Cancel, Disputed}
    assert {type(message) for message in EXAMPLES} == known


@EACH
def test_a_message_survives_the_wire(message: Any) -> None:
    assert decoder_of(message)(messages.encode(message)) == message


@EACH
def test_msgpack_makes_and_reads_the_same_bytes(message: Any) -> None:
    """Any other MessagePack library interoperates, byte for byte."""
    raw = messages.encode(message)
    assert msgpack.packb(msgpack.unpackb(raw)) == raw
    assert msgpack.unpackb(raw) == plain(message)
    assert msgpack.packb(plain(message)) == raw


@pytest.mark.parametrize("job_input", INPUTS, ids=kind_of)
def test_msgpack_makes_and_reads_the_same_input(job_input: JobInput) -> None:
    raw = messages.encode_input(job_input)
    assert msgpack.packb(plain(job_input)) == raw
    assert messages.decode_input(raw) == job_input


def test_an_input_says_its_kind() -> None:
    """So its hash in the order binds the kind, too: the same fields of another kind differ."""
    assert [kind_of(job_input) for job_input in INPUTS] == list(Kind)
    renamed = plain(CompletionInput("x")) | {"t": "chat"}
    for wrong in (renamed, plain(INPUT) | {"t": "dream"}, plain(CompletionInput("x")) | {"t": 1}):
        with pytest.raises(PeerError):
            messages.decode_input(msgpack.packb(wrong))


@EACH
def test_the_other_side_may_not_say_it(message: Any) -> None:
    is_from_provider = isinstance(message, FROM_PROVIDER)
    wrong = messages.decode_from_client if is_from_provider else messages.decode_from_provider
    with pytest.raises(PeerError):
        wrong(messages.encode(message))


@EACH
def test_a_message_cut_short_or_drawn_out_is_refused(message: Any) -> None:
    raw = messages.encode(message)
    step = max(1, len(raw) // 50)
    for bent in [*(raw[:at] for at in range(0, len(raw), step)), raw + b"\x00", raw + raw]:
        with pytest.raises(PeerError):
            decoder_of(message)(bent)


@EACH
def test_a_field_left_out_is_refused_even_where_it_has_a_default(message: Any) -> None:
    """One message, one encoding."""
    whole = plain(message)
    for name in whole:
        with pytest.raises(PeerError):
            decoder_of(message)(msgpack.packb({k: v for k, v in whole.items() if k != name}))


@EACH
def test_an_unknown_field_is_refused(message: Any) -> None:
    with pytest.raises(PeerError):
        decoder_of(message)(msgpack.packb(plain(message) | {"more": 1}))


@EACH
def test_fields_in_another_order_are_refused(message: Any) -> None:
    turned = dict(reversed(plain(message).items()))
    with pytest.raises(PeerError):
        decoder_of(message)(msgpack.packb(turned))


def pairs(items: list[tuple[str, Any]]) -> bytes:
    """A map with these entries, whatever they are."""
    body = b"".join(msgpack.packb(key) + msgpack.packb(value) for key, value in items)
    return bytes((0x80 | len(items),)) + body


@EACH
def test_a_key_given_twice_is_refused(message: Any) -> None:
    """Two readers could each believe another one of the two."""
    items = list(plain(message).items())
    for item in items:
        with pytest.raises(PeerError):
            decoder_of(message)(pairs([*items, item]))


ACCEPTED = {"t": "accepted", "job": b"\x01" * 32, "input_units": 7}
WRONG: dict[str, bytes] = {
    "a longer form of a number": msgpack.packb(ACCEPTED).replace(b"units\x07", b"units\xcc\x07"),
    "a number as a float": msgpack.packb(ACCEPTED | {"input_units": 7.0}),
    "a number as text": msgpack.packb(ACCEPTED | {"input_units": "7"}),
    "a number as a truth value": msgpack.packb(ACCEPTED | {"input_units": True}),
    "a negative number": msgpack.packb(ACCEPTED | {"input_units": -1}),
    "a number above 32 bits": msgpack.packb(ACCEPTED | {"input_units": 2**32}),
    "a number above 63 bits": msgpack.packb(ACCEPTED | {"input_units": 2**64 - 1}),
    "NaN": msgpack.packb(ACCEPTED | {"input_units": float("nan")}),
    "nil": msgpack.packb(ACCEPTED | {"input_units": None}),
    "31 bytes": msgpack.packb(ACCEPTED | {"job": b"\x01" * 31}),
    "33 bytes": msgpack.packb(ACCEPTED | {"job": b"\x01" * 33}),
    "text for bytes": msgpack.packb(ACCEPTED | {"job": "x" * 32}),
    "a longer form of bytes": msgpack.packb(ACCEPTED).replace(b"\xc4\x20", b"\xc5\x00\x20"),
    "a longer form of text": msgpack.packb(ACCEPTED).replace(b"\xa1t", b"\xd9\x01t"),
    "a longer form of a map": b"\xde\x00\x03" + msgpack.packb(ACCEPTED)[1:],
    "an extension": msgpack.packb(ACCEPTED | {"input_units": msgpack.ExtType(5, b"abc")}),
    "a timestamp": msgpack.packb(ACCEPTED | {"input_units": msgpack.Timestamp(1)}),
    "a key that is no text": b"\x81\x01\x02",
    "an array for the map": msgpack.packb(list(ACCEPTED.values())),
    "text that is not UTF-8": msgpack.packb(ACCEPTED).replace(b"accepted", b"\xff\xfe\xfd\xfccted"),
    "a surrogate": msgpack.packb(
        {"t": "chunk", "job": b"\x01" * 32, "at": 0, "units": 1, "text": b"\xed\xa0\x80"},
        use_bin_type=False,
    ),
    "no name": msgpack.packb({"job": b"\x01" * 32, "input_units": 7}),
    "an unknown name": msgpack.packb(ACCEPTED | {"t": "acceptable"}),
    "a name that is no text": msgpack.packb(ACCEPTED | {"t": 3}),
    "nothing": b"",
    "nil for the message": b"\xc0",
    "the byte that is never used": b"\xc1",
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused(what: str) -> None:
    """Typed strict decode, canonical re-encode."""
    for decode in DECODERS:
        with pytest.raises(PeerError):
            decode(WRONG[what])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", -0.5),
        ("temperature", 2.1),
        ("temperature", 1),
        ("top_p", 0.0),
        ("top_p", float("nan")),
        ("top_p", 1.1),
        ("seed", 2**32 - 1),
        ("seed", -1),
        ("stop", ["x"] * 9),
        ("stop", [""]),
        ("messages", []),
        ("messages", [{"role": "user", "content": "x"}] * 257),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "user", "content": "x", "url": "file:///etc/passwd"}]),
    ],
)
def test_a_job_input_holds_only_what_is_listed(field: str, value: Any) -> None:
    """Threat 50: allow-listed parameters, each within its range."""
    with pytest.raises(PeerError):
        messages.decode_input(msgpack.packb(plain(INPUT) | {field: value}))


TURN = Message("user", "x")
ABSURD: dict[str, JobInput] = {
    "nothing to go on with": CompletionInput(""),
    "no text": EmbeddingsInput(()),
    "no page": OcrInput(()),
    "an empty page": OcrInput((b"",)),
    "pages that fit no message": OcrInput((b"x" * 500_000,) * 2),
    "an empty text": EmbeddingsInput(("x", "")),
    "too many texts": EmbeddingsInput(("x",) * 65),
    "a text too long": CompletionInput("x" * (512 * 1024 + 1)),
    "a completion with too much heat": CompletionInput("x", temperature=2.1),
    "a seed that is too large": ChatInput((TURN,), seed=2**32 - 1),
    "a seed beyond MessagePack": ChatInput((TURN,), seed=2**70),
    "a negative seed": ChatInput((TURN,), seed=-1),
    "heat": ChatInput((TURN,), temperature=2.1),
    "no number": ChatInput((TURN,), temperature=math.nan),
    "a truth for a number": ChatInput((TURN,), temperature=True),
    "a cut that leaves nothing": ChatInput((TURN,), top_p=0.0),
    "too many turns": ChatInput((TURN,) * 257),
    "no turn": ChatInput(()),
    "a turn too long": ChatInput((Message("user", "x" * (512 * 1024 + 1)),)),
    "a conversation too long": ChatInput((Message("user", "x" * 400_000),) * 3),
    "an empty stop": ChatInput((TURN,), stop=("",)),
    "text that is none": ChatInput((Message("user", "\udcff"),)),
    "something else": ChatInput((Message("user", cast(str, object())),)),
}


@pytest.mark.parametrize("absurd", ABSURD.values(), ids=ABSURD)
def test_what_no_provider_could_read_is_not_encoded(absurd: JobInput) -> None:
    """Once it is signed and kept, the client itself could not read its journal again."""
    with pytest.raises(UserError):
        messages.encode_input(absurd)


def test_a_whole_number_is_encoded_as_the_double_it_stands_for() -> None:
    """Python programs write ``temperature=0``."""
    whole = messages.encode_input(ChatInput((TURN,), temperature=0, top_p=1))
    assert whole == messages.encode_input(ChatInput((TURN,), temperature=0.0, top_p=1.0))
    assert messages.decode_input(whole).temperature == 0


def test_a_double_in_its_short_form_is_refused() -> None:
    raw = messages.encode_input(ChatInput((Message("user", "x"),), temperature=0.5))
    long, short = b"\xcb" + struct.pack(">d", 0.5), b"\xca" + struct.pack(">f", 0.5)
    assert long in raw
    with pytest.raises(PeerError):
        messages.decode_input(raw.replace(long, short))


FRAME = 1 << 20
IN_A_MESSAGE = b"\x82\xa1x"
BOMBS: dict[str, bytes] = {
    "nested arrays": b"\x91" * FRAME,
    "nested maps": b"\x81\xa0" * (FRAME // 2),
    "nested in an unknown field": IN_A_MESSAGE + b"\x91" * FRAME,
    "a long array that is not there": b"\xdd\xff\xff\xff\xff",
    "a long map that is not there": b"\xdf\xff\xff\xff\xff",
    "bytes that are not there": b"\xc6\xff\xff\xff\xff",
    "text that is not there": b"\xdb\xff\xff\xff\xff",
    "an extension that is not there": b"\xc9\xff\xff\xff\xff\x05",
    "empty arrays in an unknown field": IN_A_MESSAGE + b"\xdd\x00\x0f\xff\xff" + b"\x90" * FRAME,
    "empty maps in an unknown field": IN_A_MESSAGE + b"\xdd\x00\x0f\xff\xff" + b"\x80" * FRAME,
    "an unknown field with a long name": b"\x81\xdb\x00\x0f\xff\x00" + b"x" * FRAME,
    "many fields": b"\xdf\x00\x07\xff\xff" + b"\xa0\xc0" * (FRAME // 2),
    "messages that are not there": (
        b"\x86\xa1t\xa4chat\xa8messages\xdd\xff\xff\xff\xff" + b"\x80" * 1000
    ),
    "variants that are not there": b"\x84\xa9addresses\x90\xa8variants\xdd\xff\xff\xff\xff",
    "addresses that are not there": b"\x84\xa9addresses\xdd\x00\x00\x00\x10" + b"\xa0" * 15,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_costs_little_time_and_memory(bomb: str) -> None:
    """P12: "No peer input crashes a node, holds it over 100 ms, or adds over 8 MB"."""
    for decode in DECODERS:
        tracemalloc.start()
        started = time.process_time()
        with pytest.raises(PeerError) as caught:
            decode(BOMBS[bomb])
        spent = time.process_time() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * MEBIBYTE
        assert spent < 0.1
        # What the peer chose does not fill the log either.
        assert len(str(caught.value)) < 400


LIMITS = [
    (Submit(messages.Signed(b"", b"\x01" * 64), b"\x01" * 32, b"x" * 1_000_001), "input"),
    (Pay(messages.Signed(b"x" * 1025, b"\x01" * 64)), "words"),
    (Pay(messages.Signed(b"x", b"\x01" * 65)), "signature"),
    (Disputed(0, "x" * 513), "detail"),
    (No(None, "x" * 65, ""), "reason"),
    (No(None, "x", "x" * 513), "detail"),
    (Bill(messages.Signed(b"", b"\x01" * 64), b"\x01" * 32, "x" * 33), "finish"),
    (Hello(messages.Signed(b"", b"\x01" * 64), b"x" * (256 * 1024 + 1)), "content"),
    (Attach(0, b"\x01" * 20, b"\x01" * 20, 0), "chain_id"),
    (Attach(2**63, b"\x01" * 20, b"\x01" * 20, 0), "chain_id"),
]


@pytest.mark.parametrize(("message", "field"), LIMITS)
def test_a_field_above_its_limit_is_refused(message: Any, field: str) -> None:
    with pytest.raises(PeerError, match=field):
        decoder_of(message)(messages.encode(message))


def test_a_sealed_statement_opens_to_its_signer() -> None:
    from rowen.protocol.statements import Order, Receipt

    signed = messages.seal(build.order(), build.DOMAIN, build.SESSION)
    opened = messages.open_signed(signed, Order, build.DOMAIN)
    assert opened.statement == build.order()
    assert opened.digest == build.order().digest(build.DOMAIN)
    assert opened.signer == build.SESSION.address
    with pytest.raises(PeerError):
        messages.open_signed(signed, Receipt, build.DOMAIN)


@given(st.text(min_size=8, max_size=40))
def test_an_error_repeats_no_word_of_the_peer(word: str) -> None:
    """P16: it is logged, and a peer chooses every key, tag and value."""
    for value in (
        {"type": word},
        {"type": "cancel", "job": word},
        {"type": "cancel", "job": b"j" * 32, word: 1},
        {word: word},
        [word],
        word,
    ):
        with pytest.raises(PeerError) as caught:
            messages.decode_from_client(msgspec.msgpack.encode(value))
        assert word not in str(caught.value)
