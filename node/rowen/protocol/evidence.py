"""Evidence bundles: what a provider hands to an auditor, as bytes.

A bundle is a set of named files. Four hold streams of MessagePack records, one after
another without an outer array; one holds a snapshot of the chain (``rowen.chain.snapshot``).
The manifest names them all with their checksums, and ``manifest.sha256`` is the checksum of
the manifest in the format of ``sha256sum``. Prompts and answers are in none of them.

Like every decoder here, these accept exactly the bytes that their encoders make.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, Generic, Literal, TypeVar

import msgpack
import msgspec

from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import Bytes20, Count, Signed

FORMAT: Final = "rowen-evidence/1"
MANIFEST: Final = "manifest.json"
CHECKSUM: Final = "manifest.sha256"
CHANNELS: Final = "channels.msgpack"
ORDERS: Final = "orders.msgpack"
RECEIPTS: Final = "receipts.msgpack"
VOUCHERS: Final = "vouchers.msgpack"
SNAPSHOT: Final = "snapshot.msgpack"

FileName = Literal[
    "channels.msgpack",
    "orders.msgpack",
    "receipts.msgpack",
    "vouchers.msgpack",
    "snapshot.msgpack",
]
STREAMS: Final[tuple[FileName, ...]] = (CHANNELS, ORDERS, RECEIPTS, VOUCHERS)
FILES: Final[tuple[FileName, ...]] = (*STREAMS, SNAPSHOT)

MANIFEST_BYTES_MAX: Final = 16 * 1024
CHECKSUM_BYTES_MAX: Final = 128
CHUNK_BYTES: Final = 64 * 1024
"""How much of a file is read at a time."""

HexHash = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{64}$")]
HexAddress = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{40}$")]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]

T = TypeVar("T")


class ChannelRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What names a channel: payer, provider and session key, 20 bytes each."""

    payer: Bytes20
    provider: Bytes20
    signer: Bytes20

    @property
    def id(self) -> bytes:
        """The escrow's key for the channel, 32 bytes."""
        return channel_id_of(self.payer, self.provider, self.signer)


class BlockEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The block whose state the bundle was made for."""

    number: Size
    hash: HexHash


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle.

    Attributes:
        sha256: Of its bytes, 64 hexadecimal digits.
        bytes: Its size.
        records: How many records it holds; 1 for the snapshot.
    """

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    bytes: Size
    records: Count


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bundle says about itself. A checksum, not a signature: anybody can write one.

    Attributes:
        format: ``FORMAT``.
        chain_id: EIP-155.
        escrow: Contract address.
        provider: Whose earnings the bundle is about.
        block: Whose state the snapshot shows; absent without a snapshot.
        files: The files beside the manifest and its checksum.
    """

    format: Literal["rowen-evidence/1"] = FORMAT
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    escrow: HexAddress
    provider: HexAddress
    block: BlockEntry | None = None
    files: dict[FileName, FileEntry]

    @property
    def domain(self) -> Domain:
        """What every signature in the bundle is bound to."""
        return Domain(self.chain_id, bytes.fromhex(self.escrow[2:]))

    @property
    def provider_address(self) -> bytes:
        """20 bytes."""
        return bytes.fromhex(self.provider[2:])

    @property
    def block_hash(self) -> bytes | None:
        """32 bytes; None without a snapshot."""
        return bytes.fromhex(self.block.hash[2:]) if self.block else None


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as a person can read it: sorted keys, two spaces, a newline at the end."""
    packed = msgspec.json.encode(manifest, order="sorted")
    return msgspec.json.format(packed, indent=2) + b"\n"


def decode_manifest(raw: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        PeerError: Not a manifest, or not its one encoding.
    """
    if len(raw) > MANIFEST_BYTES_MAX:
        raise PeerError(f"manifest has {len(raw)} bytes, at most {MANIFEST_BYTES_MAX}")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError(f"not a manifest: {error}") from error
    if encode_manifest(manifest) != raw:
        raise PeerError("manifest is not in its canonical encoding")
    return manifest


def encode_checksum(manifest: bytes) -> bytes:
    """The line that ``sha256sum manifest.json`` prints."""
    return f"{sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


_CHECKSUM_LINE = re.compile(rb"([0-9a-f]{64})  manifest\.json\n")


def decode_checksum(raw: bytes) -> bytes:
    """The 32-byte digest in a checksum file.

    Raises:
        PeerError: Not such a file.
    """
    match = _CHECKSUM_LINE.fullmatch(raw)
    if match is None:
        raise PeerError(f"not a checksum of {MANIFEST}")
    return bytes.fromhex(match[1].decode())


# --- records -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a reader takes before it gives up.

    Attributes:
        file_bytes_max: Size of one stream; a million receipts have 0.6 GB.
        snapshot_bytes_max: Size of the snapshot, which is read whole.
        record_bytes_max: Size of one record.
        records_max: Records in one stream.
    """

    file_bytes_max: int = 4 << 30
    snapshot_bytes_max: int = 256 << 20
    record_bytes_max: int = 1 << 10
    records_max: int = 5_000_000


LIMITS: Final = Limits()


class BadRecord(PeerError):
    """A record that cannot be read; nothing after it was.

    Attributes:
        index: Its position in the stream, from 0.
    """

    def __init__(self, index: int, detail: str) -> None:
        super().__init__(detail)
        self.index = index


_encode = msgspec.msgpack.Encoder().encode


def encode_record(record: ChannelRecord | Signed) -> bytes:
    """The one encoding of a record."""
    return _encode(record)


class RecordReader(Generic[T]):
    """Reads one stream of records, however its bytes are cut into chunks.

    Holds one chunk and one incomplete record. ``msgpack`` finds where a record ends, under
    limits on everything it allocates; ``msgspec`` then judges the record's type.

    Args:
        kind: What the records are.
        limits: See ``Limits``.
    """

    def __init__(self, kind: type[T], limits: Limits = LIMITS) -> None:
        self._kind = kind
        self._limits = limits
        self.count = 0

    def read(self, chunks: Iterable[bytes]) -> Iterator[T]:
        """The records, in order.

        Raises:
            BadRecord: At the first one that is malformed, not in its canonical encoding, cut
                off or over a limit.
        """
        limit = self._limits.record_bytes_max
        unpacker = self._unpacker()
        pending = bytearray()
        pending_at = 0
        for chunk in chunks:
            for at in range(0, len(chunk), CHUNK_BYTES):
                piece = chunk[at : at + CHUNK_BYTES]
                unpacker.feed(piece)
                pending += piece
                for end, value in self._unpacked(unpacker):
                    size = end - pending_at
                    yield self._judged(value, bytes(pending[:size]))
                    del pending[:size]
                    pending_at = end
                    self.count += 1
                if len(pending) > limit:
                    raise BadRecord(self.count, f"record has over {limit} bytes")
        if pending:
            raise BadRecord(self.count, f"record is cut off after {len(pending)} bytes")

    def _unpacker(self) -> msgpack.Unpacker:
        size = self._limits.record_bytes_max
        # A record is one flat map; what is none of ours stops at the first container inside.
        return msgpack.Unpacker(
            max_buffer_size=CHUNK_BYTES + size,
            max_str_len=32,
            max_bin_len=size,
            max_array_len=0,
            max_map_len=8,
            max_ext_len=0,
            raw=False,
            strict_map_key=True,
        )

    def _unpacked(self, unpacker: msgpack.Unpacker) -> Iterator[tuple[int, object]]:
        while True:
            try:
                value = unpacker.unpack()
            except msgpack.OutOfData:
                return
            # Its errors are ValueError, BufferFull and bare UnpackException.
            except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
                raise BadRecord(self.count, f"not MessagePack within limits: {error}") from error
            yield unpacker.tell(), value

    def _judged(self, value: object, raw: bytes) -> T:
        if self.count >= self._limits.records_max:
            raise BadRecord(self.count, f"more than {self._limits.records_max} records")
        try:
            record = msgspec.convert(value, self._kind)
        except (msgspec.ValidationError, RecursionError) as error:
            raise BadRecord(self.count, f"not a {self._kind.__name__}: {error}") from error
        if _encode(record) != raw:
            raise BadRecord(self.count, f"{self._kind.__name__} is not in its canonical encoding")
        return record
