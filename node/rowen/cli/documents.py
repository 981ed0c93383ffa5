"""What ``--json`` prints: one type a document. ``rowen/cli/schemas`` is made from these.

Amounts are texts of whole token units (millionths of a dollar), because they pass 2^53, where
JSON readers start to round. Addresses and hashes are always whole.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from rowen.cli.document_types import Count, Document
from rowen.cli.gpu_documents import LeaseStatus

Amount = Annotated[str, Meta(pattern=r"^[0-9]{1,78}$")]
Difference = Annotated[str, Meta(pattern=r"^-?[0-9]{1,78}$")]
"""An amount that an edited bundle can push below zero."""

Address = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
Hash = Annotated[str, Meta(pattern=r"^0x[0-9a-f]{64}$")]
Wei = Annotated[str, Meta(pattern=r"^[0-9]{1,78}$")]
EnergyWord = Literal["none", "nvml_counter", "nvml_power", "rapl"]
FaultKind = Literal["usage", "user_error", "refused", "unavailable", "peer_error", "internal"]


# --- any command


class Fault(Document, frozen=True):
    """An error.

    Attributes:
        kind: ``usage``, ``user_error``, ``refused``, ``unavailable``, ``peer_error`` or
            ``internal``.
        message: What happened, and what to do.
        reason: For ``refused``: the word of ``rowen.protocol.errors.Reason``.
    """

    kind: FaultKind
    message: str
    reason: str | None = None


class ErrorDocument(Document, frozen=True):
    """What every command prints instead of its own document when it fails."""

    error: Fault


class Transaction(Document, frozen=True):
    """A transaction that succeeded."""

    hash: Hash
    block: Count
    gas_used: Count
    fee_wei: Wei


class VersionDocument(Document, frozen=True):
    """``rowen version``."""

    rowen: str
    python: str


# --- setting up


class Setting(Document, frozen=True):
    """One setting and where its value comes from: ``default``, ``FILE:LINE`` or ``env:NAME``."""

    key: str
    value: str | int | bool | list[str]
    origin: str


class ConfigDocument(Document, frozen=True):
    """``rowen config show``."""

    file: str
    settings: list[Setting]


class InitDocument(Document, frozen=True):
    """``rowen init``. ``created`` and ``kept`` are files; nothing of ``kept`` was touched."""

    home: str
    created: list[str]
    kept: list[str]
    operator: Address
    wallet: Address
    session: Address


class KeyEntry(Document, frozen=True):
    """A key's place. ``address`` is null until the key is made."""

    name: str
    address: Address | None
    file: str
    purpose: str


class KeysDocument(Document, frozen=True):
    """``rowen keys list``."""

    keys: list[KeyEntry]


class KeyDocument(Document, frozen=True):
    """``rowen keys import`` and ``export``: the key, and the file that was written."""

    name: str
    address: Address
    file: str


class DoctorFinding(Document, frozen=True):
    """A trouble: its stable code, what exactly is so, and what helps."""

    code: str
    severity: Literal["error", "warning"]
    what: str
    do: str


class DoctorDocument(Document, frozen=True):
    """``rowen doctor``. Exit code 1 when one of the findings is an error."""

    home: str
    is_running: bool
    findings: list[DoctorFinding]


class BundledFile(Document, frozen=True):
    """A file inside a support bundle."""

    name: str
    size_bytes: Count


class SupportDocument(Document, frozen=True):
    """``rowen support-bundle``."""

    file: str
    files: list[BundledFile]


class ModelEntry(Document, frozen=True):
    """A model of the catalogue."""

    name: str
    model: str
    precision: str
    licence: str
    size_bytes: Count
    sha256: str
    file: str
    is_here: bool


class ModelsDocument(Document, frozen=True):
    """``rowen models list``."""

    directory: str
    models: list[ModelEntry]


class ModelDocument(Document, frozen=True):
    """``rowen models pull`` and ``verify``: a file that has the SHA-256 it must have."""

    name: str
    file: str
    sha256: str


class DevnetDocument(Document, frozen=True):
    """``rowen devnet``, once it is up."""

    rpc: str
    chain_id: Count
    escrow: Address
    stake: Address
    token: Address
    unlock_delay_s: Count
    block_time_s: Count
    funded: list[Address]


class FundedDocument(Document, frozen=True):
    """``rowen devnet fund``: what the address holds now."""

    address: Address
    amount: Amount
    balance: Amount
    gas_wei: Wei


# --- selling


class SoldVariant(Document, frozen=True):
    """One variant on sale; see ``provider.reports.VariantReport``."""

    variant: str
    model: str
    precision: str
    kinds: list[str]
    price_input: Amount
    price_cached: Amount
    price_output: Amount
    price_request: Amount
    gpus: list[str]
    is_ready: bool
    running: Count
    waiting: Count
    places: Count


class ServingDocument(Document, frozen=True):
    """``rowen serve``, once it is ready for clients."""

    address: Address
    peer_id: str
    addresses: list[str]
    variants: list[SoldVariant]
    chain_id: Count
    escrow: Address
    watch: str


class SoldChannel(Document, frozen=True):
    """One channel at its provider; see ``provider.reports.ChannelReport``."""

    channel_id: Hash
    payer: Address
    signer: Address
    is_connected: bool
    receipts: Count
    issued: Amount
    paid: Amount
    unpaid: Count
    open_jobs: Count
    stopped: str


class ProviderStatus(Document, frozen=True):
    """A running daemon; amounts the chain did not tell are null."""

    address: Address
    peer_id: str
    addresses: list[str]
    variants: list[SoldVariant]
    sessions: Count
    issued: Amount
    paid: Amount
    unclaimed: Amount | None
    oldest_unclaimed_s: Count | None
    credit: Amount | None
    gas_wei: Wei | None
    chain: str
    watch: str
    trouble: list[str]
    alerts: list[str]
    lease: LeaseStatus
    key_trouble: str
    channels: list[SoldChannel]


class Fact(Document, frozen=True):
    """Something a node of another version says of itself."""

    name: str
    value: str


class OtherVersionStatus(Document, frozen=True):
    """A daemon whose status this version cannot read; ``rowen`` is its version, or empty.

    ``facts`` are those that could be read all the same, ``unread`` names the others.
    """

    rowen: str
    what: str
    facts: list[Fact]
    unread: list[str]


class StatusDocument(Document, frozen=True):
    """``rowen status``.

    ``provider`` is null when no daemon runs in this home, or one of another version does.
    """

    home: str
    is_running: bool
    provider: ProviderStatus | None
    other_version: OtherVersionStatus | None = None


class SettleDocument(Document, frozen=True):
    """``rowen settle``."""

    claimed: Count
    skipped: Count
    credited: Amount
    transactions: list[Transaction]
    swept: Amount
    payout: Address | None
    sweep: Transaction | None


# --- checking


class BlockReference(Document, frozen=True):
    """A block of the chain."""

    number: Count
    hash: Hash


class ExportDocument(Document, frozen=True):
    """``rowen audit export``."""

    path: str
    chain_id: Count
    escrow: Address
    provider: Address
    block: BlockReference | None
    channels: Count
    orders: Count
    receipts: Count
    vouchers: Count


class AuditFigures(Document, frozen=True):
    """What was examined; see ``protocol.audit_channel.Figures``."""

    channels: Count
    orders: Count
    receipts: Count
    vouchers: Count
    claims: Count
    acknowledged_total: Difference
    claimed_total: Difference
    unclaimed_total: Difference
    unclaimable_total: Difference
    credit: Difference
    swept_total: Difference


class AuditAnchor(Document, frozen=True):
    """One thing a verdict rests on; not pinned means that it is the bundle's own word."""

    name: str
    value: str
    is_pinned: bool


class AuditFinding(Document, frozen=True):
    """One thing that is not as it must be; see ``protocol.audit_findings.Finding``."""

    kind: Literal["failed", "fraud", "missing", "malformed"]
    file: str
    detail: str
    record: Count | None
    channel: str
    sequence: Count | None
    field: str
    expected: str
    actual: str


class VerdictDocument(Document, frozen=True):
    """``rowen audit verify``."""

    status: Literal["verified", "failed", "malformed", "undetermined"]
    exit_code: Annotated[int, Meta(ge=0, le=3)]
    figures: AuditFigures
    checked_against: list[AuditAnchor]
    findings: list[AuditFinding]
