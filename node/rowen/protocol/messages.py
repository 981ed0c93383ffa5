"""What client and provider say to each other on a job stream, one message a frame.

Messages are MessagePack maps, strictly typed. ``decode`` accepts exactly the bytes that
``encode`` makes for some message: no unknown or duplicate key, no longer form of a number.
Signed statements travel as the words that were signed; amounts inside them are fixed-size,
because MessagePack integers end at 64 bits.
"""

from __future__ import annotations

import re
from typing import Annotated, Generic, TypeVar

import msgspec

from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.jobs import JobInput
from rowen.protocol.signing import Key, recover
from rowen.protocol.statements import Statement

PROTOCOL_ID = "/rowen/job/1"

Bytes20 = Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Words = Annotated[bytes, msgspec.Meta(max_length=1024)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Detail = Annotated[str, msgspec.Meta(max_length=512)]

INPUT_BYTES_MAX = 1_000_000

T = TypeVar("T")
S = TypeVar("S", bound=Statement)


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement and its signature.

    Attributes:
        words: ``Statement.encode()``.
        signature: 64 bytes, EIP-2098.
    """

    words: Words
    signature: Bytes64


class Opened(msgspec.Struct, Generic[S], frozen=True, gc=False):
    """A statement whose signature was recovered; who signed it is for the caller to judge."""

    statement: S
    digest: bytes
    signer: bytes


def seal(statement: Statement, domain: Domain, key: Key) -> Signed:
    """Signs a statement."""
    words = statement.encode()
    return Signed(words, key.sign(domain.digest(statement.TYPE_HASH, words)))


def open_signed(signed: Signed, kind: type[S], domain: Domain) -> Opened[S]:
    """Reads a signed statement.

    Raises:
        PeerError: Not a statement of this kind, or not a signature.
    """
    statement = kind.decode(signed.words)
    # The words just proved canonical, so hashing them spares encoding again.
    digest = domain.digest(kind.TYPE_HASH, signed.words)
    return Opened(statement, digest, recover(digest, signed.signature))


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", gc=False):
    """Base: every message carries its name in ``t``."""


# --- provider and client greet -------------------------------------------------------------


class Hello(_Said, frozen=True, tag="hello"):
    """First message of the provider on a stream: who it is and what it sells.

    Attributes:
        offer: Signed ``Offer``.
        content: Encoded ``OfferContent``; its SHA-256 stands in the offer.
    """

    offer: Signed
    content: Annotated[bytes, msgspec.Meta(max_length=256 * 1024)]


class Attach(_Said, frozen=True, tag="attach"):
    """First message of the client: the channel it pays from, and how far its log goes.

    Attributes:
        chain_id: Chain of the escrow.
        escrow: Contract address.
        payer: Wallet that funded the channel. Provider and session key are the stream's ends.
        receipt_count: Receipts in the client's log.
        voucher: Its newest voucher, absent before the first.
    """

    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    escrow: Bytes20
    payer: Bytes20
    receipt_count: Count
    voucher: Signed | None = None


class Attached(_Said, frozen=True, tag="attached"):
    """The provider's view of the channel; receipts the client has not paid for follow.

    Attributes:
        receipt_count: Receipts in the provider's log.
        voucher: Newest voucher the provider holds. A client that finds itself behind it was
            restored from an old copy and must stop.
    """

    receipt_count: Count
    voucher: Signed | None = None


# --- jobs ----------------------------------------------------------------------------------


class Submit(_Said, frozen=True, tag="submit"):
    """An order with the input it was signed for.

    Attributes:
        order: Signed ``Order``.
        salt: 32 random bytes, so that a short prompt cannot be guessed from its hash.
        input: Encoded job input.
    """

    order: Signed
    salt: Bytes32
    input: Annotated[bytes, msgspec.Meta(max_length=INPUT_BYTES_MAX)]


class Accepted(_Said, frozen=True, tag="accepted"):
    """The job runs.

    Attributes:
        job: Its id.
        input_units: Prompt tokens as the provider counts them.
    """

    job: Bytes32
    input_units: Count


class No(_Said, frozen=True, tag="no"):
    """The job, or with ``job`` absent the channel, is refused.

    Attributes:
        reason: A ``Reason`` word.
        detail: Expected and actual values.
        retry_ms: When asking again may help.
    """

    job: Bytes32 | None
    reason: Annotated[str, msgspec.Meta(max_length=64)]
    detail: Detail
    retry_ms: Milliseconds | None = None


class Chunk(_Said, frozen=True, tag="chunk"):
    """Some of the answer. Sending the same part again changes nothing.

    Attributes:
        job: Its id.
        at: Offset of ``text`` in the answer, in UTF-8 bytes.
        units: Output units of the answer up to the end of ``text``.
        text: The part itself.
    """

    job: Bytes32
    at: Count
    units: Count
    text: str


class Bill(_Said, frozen=True, tag="bill"):
    """A receipt; the client answers with a voucher that covers it.

    Attributes:
        receipt: Signed ``Receipt``.
        job: Its id.
        finish: A ``Finish`` word on the last receipt of a job, empty before.
        detail: Why it failed or ended early; empty otherwise.
    """

    receipt: Signed
    job: Bytes32
    finish: Annotated[str, msgspec.Meta(max_length=32)] = ""
    detail: Detail = ""


class Pay(_Said, frozen=True, tag="pay"):
    """A voucher for every receipt up to its count."""

    voucher: Signed


class Cancel(_Said, frozen=True, tag="cancel"):
    """Stop this job; what was delivered is billed."""

    job: Bytes32


class Disputed(_Said, frozen=True, tag="disputed"):
    """The client will not pay for this receipt; the channel stops here.

    Attributes:
        sequence: Of the receipt.
        detail: What is wrong with it.
    """

    sequence: Count
    detail: Detail


FromClient = Attach | Submit | Pay | Cancel | Disputed
FromProvider = Hello | Attached | Accepted | No | Chunk | Bill
Said = FromClient | FromProvider

_encode = msgspec.msgpack.Encoder().encode
_client_decoder: msgspec.msgpack.Decoder[FromClient] = msgspec.msgpack.Decoder(FromClient)
_provider_decoder: msgspec.msgpack.Decoder[FromProvider] = msgspec.msgpack.Decoder(FromProvider)
_input_decoder: msgspec.msgpack.Decoder[JobInput] = msgspec.msgpack.Decoder(JobInput)


def encode(message: Said) -> bytes:
    """The one encoding of a message."""
    return _encode(message)


def decode_from_client(raw: bytes) -> FromClient:
    """Reads what a client sent.

    Raises:
        PeerError: Not a client's message, or not its one encoding.
    """
    return _strict(_client_decoder, raw)


def decode_from_provider(raw: bytes) -> FromProvider:
    """Reads what a provider sent.

    Raises:
        PeerError: Not a provider's message, or not its one encoding.
    """
    return _strict(_provider_decoder, raw)


def encode_input(job: JobInput) -> bytes:
    """The bytes whose salted hash stands in the order.

    Raises:
        UserError: A part is outside its bounds, or the whole is too long.
    """
    try:
        # Python takes 0 for 0.0 and checks no bound; what is signed must be what is accepted.
        encoded = _encode(_input_decoder.decode(_encode(job)))
    except (msgspec.DecodeError, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise UserError(f"malformed request: {error}") from error
    if len(encoded) > INPUT_BYTES_MAX:
        raise UserError(f"the input is too long: {len(encoded)} bytes, at most {INPUT_BYTES_MAX}")
    return encoded


def decode_input(raw: bytes) -> JobInput:
    """Reads a job input.

    Raises:
        PeerError: Not a job input, or not its one encoding.
    """
    return _strict(_input_decoder, raw)


# The only errors of msgspec that quote no key or value: types, lengths and our own names.
_ABOUT_OURS = re.compile(
    r"Expected `[\w |]+`(?:, got `\w+`| of length [<>=]+ \d+| [<>=]+ -?\d+)?"
    r"(?: - at `\$[\w.\[\]]*`)?"
)


def _unquoted(error: Exception) -> str:
    """What is wrong, without the words of the peer: an error ends up in the log."""
    if not isinstance(error, msgspec.DecodeError):
        return "text that is not UTF-8" if isinstance(error, UnicodeDecodeError) else "too deep"
    told = str(error)
    return told if _ABOUT_OURS.fullmatch(told) else re.split(r"[`'\"]", told)[0].strip()[:80]


def _strict(decoder: msgspec.msgpack.Decoder[T], raw: bytes) -> T:
    try:
        message = decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError(f"malformed message of {len(raw)} bytes: {_unquoted(error)}") from error
    # MessagePack lets one value have many encodings; hashes and signatures need one.
    if _encode(message) != raw:
        raise PeerError(f"{type(message).__name__} is not in its canonical encoding")
    return message
