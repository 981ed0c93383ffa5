"""What is signed: orders, receipts, vouchers, releases and offers.

Each statement encodes to 32-byte words, the ABI encoding of a Solidity struct of the same
name and, at the same time, EIP-712's encodeData. ``decode`` accepts exactly what ``encode``
makes. A statement alone proves nothing; see ``Domain.digest`` and ``signing``.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct as Layout
from struct import error as LayoutError  # noqa: N812 - `error` says nothing beside other errors
from typing import Any, ClassVar, Self

import msgspec

from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import ADDRESS_BYTES, HASH_BYTES, keccak

AMOUNT_BYTES = 12
AMOUNT_MAX = 2**96 - 1

# One 32-byte word each, as struct formats.
_ADDRESS = "12x20s"
_BYTES32 = "32s"
_UINT96 = "20x12s"
_UINT64 = "24xQ"
_UINT32 = "28xI"
_UINT8 = "31xB"


def _layout(*words: str) -> Layout:
    return Layout(">" + "".join(words))


def _amount(value: int) -> bytes:
    return value.to_bytes(AMOUNT_BYTES, "big")


def _sized(value: bytes, size: int) -> bytes:
    # struct would pad or cut silently.
    if len(value) != size:
        raise ValueError(f"expected {size} bytes, got {len(value)}")
    return value


def _address(value: bytes) -> bytes:
    return _sized(value, ADDRESS_BYTES)


def _hash(value: bytes) -> bytes:
    return _sized(value, HASH_BYTES)


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the signed types.

    Abstract without ``abc``, whose metaclass makes every struct three times as slow to build.
    """

    TYPE: ClassVar[str]
    TYPE_HASH: ClassVar[bytes]
    LAYOUT: ClassVar[Layout]

    def encode(self) -> bytes:
        """The words, ``LAYOUT.size`` bytes.

        Raises:
            ValueError: A field does not fit its type.
        """
        raise NotImplementedError  # every statement has its own

    @classmethod
    def _from_fields(cls, fields: tuple[Any, ...]) -> Self:
        raise NotImplementedError  # every statement has its own

    @classmethod
    def decode(cls, words: bytes) -> Self:
        """Reads the words.

        Raises:
            PeerError: Wrong length, a value outside its type, or padding that is not zero.
        """
        layout = cls.LAYOUT
        if len(words) != layout.size:
            raise PeerError(f"{cls.__name__} has {len(words)} bytes, expected {layout.size}")
        fields = layout.unpack(words)
        try:
            statement = cls._from_fields(fields)
        except ValueError as error:
            raise PeerError(f"{cls.__name__} holds a value outside its type: {error}") from error
        # The fields as they stand in the words hold everything but the padding.
        if layout.pack(*fields) != words:
            raise PeerError(f"{cls.__name__} has padding that is not zero")
        return statement

    def __str__(self) -> str:
        """For people: bytes in hexadecimal."""
        fields = ", ".join(
            f"{name}={f'0x{value.hex()}' if isinstance(value, bytes) else value}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"{type(self).__name__}({fields})"

    def digest(self, domain: Domain) -> bytes:
        """What is signed, 32 bytes."""
        return domain.digest(self.TYPE_HASH, self.encode())


class Order(Statement, frozen=True, kw_only=True):
    """A client's request for one job; it binds price, caps and input.

    Attributes:
        channel_id: Channel that pays, 32 bytes. It names payer, provider and session key.
        job_id: Chosen by the client, 32 random bytes, used once.
        variant: Product asked for, 32 bytes (see ``offers``).
        input_hash: SHA-256 over salt and encoded input, 32 bytes.
        price_input: Token units per million input units that were not cached.
        price_cached: The same for input units served from the engine's cache.
        price_output: The same for output units.
        price_request: Token units for the request itself.
        output_units_max: The answer ends there.
        amount_max: The job never costs more, in token units.
        deadline_ms: The provider stops then; Unix time in milliseconds.
    """

    TYPE: ClassVar[str] = (
        "Order(bytes32 channelId,bytes32 jobId,bytes32 variant,bytes32 inputHash,"
        "uint96 priceInput,uint96 priceCached,uint96 priceOutput,uint96 priceRequest,"
        "uint32 outputUnitsMax,uint96 amountMax,uint64 deadlineMs)"
    )
    TYPE_HASH: ClassVar[bytes] = keccak(TYPE.encode())
    LAYOUT: ClassVar[Layout] = _layout(
        _BYTES32, _BYTES32, _BYTES32, _BYTES32,
        _UINT96, _UINT96, _UINT96, _UINT96,
        _UINT32, _UINT96, _UINT64,
    )  # fmt: skip

    channel_id: bytes
    job_id: bytes
    variant: bytes
    input_hash: bytes
    price_input: int
    price_cached: int
    price_output: int
    price_request: int
    output_units_max: int
    amount_max: int
    deadline_ms: int

    def encode(self) -> bytes:
        """See ``Statement.encode``."""
        try:
            return self.LAYOUT.pack(
                _hash(self.channel_id), _hash(self.job_id),
                _hash(self.variant), _hash(self.input_hash),
                _amount(self.price_input), _amount(self.price_cached),
                _amount(self.price_output), _amount(self.price_request),
                self.output_units_max, _amount(self.amount_max), self.deadline_ms,
            )  # fmt: skip
        except (OverflowError, LayoutError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def _from_fields(cls, fields: tuple[Any, ...]) -> Self:
        (channel, job, variant, input_hash, p_in, p_cached, p_out, p_request,
         units_max, amount_max, deadline_ms) = fields  # fmt: skip
        return cls(
            channel_id=channel,
            job_id=job,
            variant=variant,
            input_hash=input_hash,
            price_input=int.from_bytes(p_in, "big"),
            price_cached=int.from_bytes(p_cached, "big"),
            price_output=int.from_bytes(p_out, "big"),
            price_request=int.from_bytes(p_request, "big"),
            output_units_max=units_max,
            amount_max=int.from_bytes(amount_max, "big"),
            deadline_ms=deadline_ms,
        )


class Status(IntEnum):
    """How the job stood when its receipt was written."""

    PARTIAL = 0
    FINAL = 1
    CANCELLED = 2
    PREEMPTED = 3
    FAILED = 4


class EnergySource(IntEnum):
    """Where the joules on a receipt come from, and how sure they are.

    The low two bits say where from. *Shared* (4): others were at work on the device in the job's
    time, so its joules are a share and not a measurement. *Weak* (8): they were metered for less
    than a second, or not throughout.
    """

    NONE = 0
    NVML_COUNTER = 1
    NVML_POWER = 2
    RAPL = 3
    NVML_COUNTER_SHARED = 5
    NVML_POWER_SHARED = 6
    RAPL_SHARED = 7
    NVML_COUNTER_WEAK = 9
    NVML_POWER_WEAK = 10
    RAPL_WEAK = 11
    NVML_COUNTER_SHARED_WEAK = 13
    NVML_POWER_SHARED_WEAK = 14
    RAPL_SHARED_WEAK = 15

    @property
    def origin(self) -> EnergySource:
        """Where from, whether shared or weak or neither."""
        return EnergySource(self & 3)

    @property
    def is_shared(self) -> bool:
        """Whether others were at work on the device, too."""
        return bool(self & 4)

    @property
    def is_weak(self) -> bool:
        """Whether they were metered for less than a second, or not throughout."""
        return bool(self & 8)

    def marked(self, *, is_shared: bool, is_weak: bool) -> EnergySource:
        """The same origin with these marks; what is not metered has none."""
        if self.origin is EnergySource.NONE:
            return EnergySource.NONE
        return EnergySource(self.origin | 4 * is_shared | 8 * is_weak)


class Receipt(Statement, frozen=True, kw_only=True):
    """A provider's meter reading for one segment of a job.

    Units, gpu_ms, energy_mj and output_hash are readings since the job began, never
    differences; ``amount`` is what this segment adds, ``total`` what the channel owes.

    Attributes:
        channel_id: Channel that pays, 32 bytes.
        sequence: Position in the channel's receipt log, from 0.
        order_hash: EIP-712 digest of the order, 32 bytes.
        segment: Position among the job's receipts, from 0.
        status: See ``Status``.
        input_units: Prompt tokens, cached ones included.
        cached_units: Of these, from the engine's cache.
        output_units: Answer tokens delivered so far.
        amount: Price of this segment, token units.
        total: Sum of all amounts in the log up to and with this one.
        output_hash: SHA-256 of the answer's UTF-8 bytes so far, 32 bytes.
        started_at_ms: Unix time the job began.
        finished_at_ms: Unix time of this reading.
        gpu_ms: GPU time spent, 0 when the engine runs on a CPU.
        energy_mj: Energy spent in millijoules, 0 when the source is ``NONE``.
        energy_source: See ``EnergySource``.
    """

    TYPE: ClassVar[str] = (
        "Receipt(bytes32 channelId,uint32 sequence,bytes32 orderHash,uint32 segment,"
        "uint8 status,uint32 inputUnits,uint32 cachedUnits,uint32 outputUnits,"
        "uint96 amount,uint96 total,bytes32 outputHash,uint64 startedAtMs,"
        "uint64 finishedAtMs,uint64 gpuMs,uint64 energyMj,uint8 energySource)"
    )
    TYPE_HASH: ClassVar[bytes] = keccak(TYPE.encode())
    LAYOUT: ClassVar[Layout] = _layout(
        _BYTES32, _UINT32, _BYTES32, _UINT32,
        _UINT8, _UINT32, _UINT32, _UINT32,
        _UINT96, _UINT96, _BYTES32, _UINT64,
        _UINT64, _UINT64, _UINT64, _UINT8,
    )  # fmt: skip

    channel_id: bytes
    sequence: int
    order_hash: bytes
    segment: int
    status: Status
    input_units: int
    cached_units: int
    output_units: int
    amount: int
    total: int
    output_hash: bytes
    started_at_ms: int
    finished_at_ms: int
    gpu_ms: int = 0
    energy_mj: int = 0
    energy_source: EnergySource = EnergySource.NONE

    def encode(self) -> bytes:
        """See ``Statement.encode``."""
        try:
            return self.LAYOUT.pack(
                _hash(self.channel_id), self.sequence, _hash(self.order_hash), self.segment,
                self.status, self.input_units, self.cached_units, self.output_units,
                _amount(self.amount), _amount(self.total), _hash(self.output_hash),
                self.started_at_ms, self.finished_at_ms, self.gpu_ms, self.energy_mj,
                self.energy_source,
            )  # fmt: skip
        except (OverflowError, LayoutError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def _from_fields(cls, fields: tuple[Any, ...]) -> Self:
        (channel, sequence, order_hash, segment, status, units_in, cached, units_out, amount,
         total, output_hash, started, finished, gpu_ms, energy, source) = fields  # fmt: skip
        return cls(
            channel_id=channel,
            sequence=sequence,
            order_hash=order_hash,
            segment=segment,
            status=Status(status),
            input_units=units_in,
            cached_units=cached,
            output_units=units_out,
            amount=int.from_bytes(amount, "big"),
            total=int.from_bytes(total, "big"),
            output_hash=output_hash,
            started_at_ms=started,
            finished_at_ms=finished,
            gpu_ms=gpu_ms,
            energy_mj=energy,
            energy_source=EnergySource(source),
        )


class Voucher(Statement, frozen=True, kw_only=True):
    """A client's promise; each voucher replaces the one before.

    Attributes:
        payer: Wallet that funded the channel, 20 bytes.
        provider: Who may claim, 20 bytes.
        total: Owed since the channel opened, token units. Cumulative, never a delta.
        receipt_count: Receipts this total is the sum of.
        receipts_root: RFC 9162 tree head over the channel's first receipt_count receipts,
            32 bytes.
    """

    TYPE: ClassVar[str] = (
        "Voucher(address payer,address provider,uint96 total,uint32 receiptCount,"
        "bytes32 receiptsRoot)"
    )
    TYPE_HASH: ClassVar[bytes] = keccak(TYPE.encode())
    LAYOUT: ClassVar[Layout] = _layout(_ADDRESS, _ADDRESS, _UINT96, _UINT32, _BYTES32)

    payer: bytes
    provider: bytes
    total: int
    receipt_count: int
    receipts_root: bytes

    def encode(self) -> bytes:
        """See ``Statement.encode``."""
        try:
            return self.LAYOUT.pack(
                _address(self.payer),
                _address(self.provider),
                _amount(self.total),
                self.receipt_count,
                _hash(self.receipts_root),
            )
        except (OverflowError, LayoutError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def _from_fields(cls, fields: tuple[Any, ...]) -> Self:
        payer, provider, total, count, root = fields
        return cls(
            payer=payer,
            provider=provider,
            total=int.from_bytes(total, "big"),
            receipt_count=count,
            receipts_root=root,
        )

    def row(self, signature: bytes) -> bytes:
        """The 132-byte row that ``RowenEscrow.claim`` reads."""
        return b"".join(
            (
                self.payer,
                _amount(self.total),
                self.receipt_count.to_bytes(4, "big"),
                self.receipts_root,
                _sized(signature, 64),
            )
        )


class Release(Statement, frozen=True, kw_only=True):
    """A provider's consent that everything above ``total`` leaves the channel now.

    Attributes:
        channel_id: Channel, 32 bytes.
        total: Stays locked and claimable, token units.
        deadline_s: Unix time in seconds (the contract's clock) after which it is void.
    """

    TYPE: ClassVar[str] = "Release(bytes32 channelId,uint96 total,uint64 deadline)"
    TYPE_HASH: ClassVar[bytes] = keccak(TYPE.encode())
    LAYOUT: ClassVar[Layout] = _layout(_BYTES32, _UINT96, _UINT64)

    channel_id: bytes
    total: int
    deadline_s: int

    def encode(self) -> bytes:
        """See ``Statement.encode``."""
        try:
            return self.LAYOUT.pack(_hash(self.channel_id), _amount(self.total), self.deadline_s)
        except (OverflowError, LayoutError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def _from_fields(cls, fields: tuple[Any, ...]) -> Self:
        channel, total, deadline_s = fields
        return cls(channel_id=channel, total=int.from_bytes(total, "big"), deadline_s=deadline_s)


class Offer(Statement, frozen=True, kw_only=True):
    """A provider's expiring statement of what it sells.

    Attributes:
        provider: Operator address, 20 bytes.
        issued_at_ms: Unix time.
        expires_at_ms: Unix time.
        content_hash: SHA-256 of the encoded ``OfferContent``, 32 bytes.
    """

    TYPE: ClassVar[str] = (
        "Offer(address provider,uint64 issuedAtMs,uint64 expiresAtMs,bytes32 contentHash)"
    )
    TYPE_HASH: ClassVar[bytes] = keccak(TYPE.encode())
    LAYOUT: ClassVar[Layout] = _layout(_ADDRESS, _UINT64, _UINT64, _BYTES32)

    provider: bytes
    issued_at_ms: int
    expires_at_ms: int
    content_hash: bytes

    def encode(self) -> bytes:
        """See ``Statement.encode``."""
        try:
            return self.LAYOUT.pack(
                _address(self.provider),
                self.issued_at_ms,
                self.expires_at_ms,
                _hash(self.content_hash),
            )
        except (OverflowError, LayoutError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def _from_fields(cls, fields: tuple[Any, ...]) -> Self:
        provider, issued, expires, content = fields
        return cls(
            provider=provider,
            issued_at_ms=issued,
            expires_at_ms=expires,
            content_hash=content,
        )
