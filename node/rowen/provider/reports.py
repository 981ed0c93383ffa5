"""What a provider tells its owner; shown by the command line and printed as JSON."""

from __future__ import annotations

import msgspec

from rowen.provider.lease_reports import LeaseReport


class ChannelReport(msgspec.Struct, frozen=True, kw_only=True):
    """One channel, amounts in token units.

    Attributes:
        channel_id: Hexadecimal.
        payer: Address.
        signer: The client's session key, an address.
        is_connected: Whether its client has a session now.
        receipts: Written.
        issued: What they add up to.
        paid: What the newest voucher covers.
        unpaid: Receipts no voucher covers.
        open_jobs: Running now.
        stopped: Why no more jobs are taken, or empty.
    """

    channel_id: str
    payer: str
    signer: str
    is_connected: bool
    receipts: int
    issued: int
    paid: int
    unpaid: int
    open_jobs: int
    stopped: str


class VariantReport(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on sale, prices in token units per million.

    Attributes:
        variant: Its id, hexadecimal.
        model: Name a client asks for.
        precision: Quantisation.
        kinds: Of jobs it takes.
        price_input: Of input units.
        price_cached: Of those served from the engine's cache.
        price_output: Of output units.
        price_request: For each job, token units.
        gpus: UUIDs of those that its engine uses; empty for all that are lent.
        is_ready: Whether its engine takes jobs now.
        running: Jobs at the engine.
        waiting: Jobs that wait for a place.
        places: Jobs it serves at the same time.
    """

    variant: str
    model: str
    precision: str
    kinds: list[str]
    price_input: int
    price_cached: int
    price_output: int
    price_request: int
    gpus: list[str]
    is_ready: bool
    running: int
    waiting: int
    places: int


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """The node at one moment, amounts in token units.

    Attributes:
        address: Operator address.
        peer_id: The same key as a PeerId.
        addresses: Multiaddresses to dial.
        variants: On sale.
        sessions: Clients connected.
        issued: Receipts written, all channels together.
        paid: Covered by vouchers.
        unclaimed: Of that, not on chain yet; None when the chain does not answer.
        oldest_unclaimed_s: How long the oldest of it has waited; None likewise.
        credit: Claimed, not swept; None when the chain does not answer.
        gas_wei: What the operator key holds for gas; None when the chain does not answer.
        chain: ``ok``, or why it does not answer.
        watch: Where health and metrics are, such as ``http://127.0.0.1:4138``; empty: nowhere.
        trouble: What keeps it from taking work, a condition each.
        alerts: Names of alerts that are raised.
        lease: The GPUs, and whether they are lent.
        key_trouble: What shows that another program uses the operator key, or empty.
        channels: One by one.
    """

    address: str
    peer_id: str
    addresses: list[str]
    variants: list[VariantReport]
    sessions: int
    issued: int
    paid: int
    unclaimed: int | None
    oldest_unclaimed_s: int | None
    credit: int | None
    gas_wei: int | None
    chain: str
    watch: str
    trouble: list[str]
    alerts: list[str]
    lease: LeaseReport
    key_trouble: str
    channels: list[ChannelReport]


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon logged lately.

    Attributes:
        lines: Oldest first, each a JSON object.
    """

    lines: list[str]


class TransactionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that succeeded.

    Attributes:
        hash: Hexadecimal.
        block: Height.
        gas_used: Gas.
        fee_wei: What it cost.
    """

    hash: str
    block: int
    gas_used: int
    fee_wei: int


class SettleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a settlement did, amounts in token units.

    Attributes:
        claimed: Vouchers paid.
        skipped: Vouchers the contract did not pay.
        credited: Added to the credit.
        transactions: The claims, in order.
        swept: Moved from credit to the payout address.
        payout: That address, or empty when nothing was swept.
        sweep: The transaction, when there was one.
    """

    claimed: int
    skipped: int
    credited: int
    transactions: list[TransactionReport]
    swept: int = 0
    payout: str = ""
    sweep: TransactionReport | None = None


class WithdrawReport(msgspec.Struct, frozen=True, kw_only=True):
    """What can be withdrawn, or was.

    Attributes:
        credit: Token units.
        payout: Where it goes, an address.
        is_own_key: Whether that is the operator key: no payout address was ever set.
        gas_wei: What sending it costs at most, about.
        transaction: That sent it; None when nothing was sent.
    """

    credit: int
    payout: str
    is_own_key: bool
    gas_wei: int
    transaction: TransactionReport | None


class PayoutReport(msgspec.Struct, frozen=True, kw_only=True):
    """Where earnings go.

    Attributes:
        payout: Now, an address.
        is_own_key: Whether that is the operator key.
        pending: Asked for, or empty.
        apply_at_s: When that one may take over, Unix time; 0 when none is pending.
        transaction: That asked for it, or put it in force; None for a mere look.
    """

    payout: str
    is_own_key: bool
    pending: str
    apply_at_s: int
    transaction: TransactionReport | None
