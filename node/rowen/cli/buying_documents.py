"""What a developer's commands print with ``--json``."""

from __future__ import annotations

from typing import Literal

from rowen.cli.document_types import Count, Document
from rowen.cli.documents import Address, Amount, EnergyWord, Hash, Transaction


class OpenedChannel(Document, frozen=True):
    """A channel that was funded, and what it then held in all."""

    channel_id: Hash
    provider: Address
    locked: Amount


class ChannelOpenedDocument(Document, frozen=True):
    """``rowen channel open``: ``amount`` went into each channel, with one transaction for all."""

    payer: Address
    amount: Amount
    channels: list[OpenedChannel]
    transaction: Transaction


class BoughtChannel(Document, frozen=True):
    """One channel at its client; see ``client.buyer.ChannelReport``."""

    channel_id: Hash
    payer: Address
    provider: Address
    signer: Address
    locked: Amount
    claimed: Amount
    owed: Amount
    receipts: Count
    free: Amount
    unlock_at_s: Count
    stopped: str


class ChannelsDocument(Document, frozen=True):
    """``rowen channel list``."""

    channels: list[BoughtChannel]


class ChannelClosedDocument(Document, frozen=True):
    """``rowen channel close``: ``requested`` starts the delay, ``unlocked`` ends it."""

    channel_id: Hash
    provider: Address
    step: Literal["requested", "unlocked", "cancelled"]
    unlock_at_s: Count
    refunded: Amount
    transaction: Transaction


class ClaimedRunEntry(Document, frozen=True):
    """Speed and energy with so many jobs at once; see ``rowen_scheduler.market.ClaimedRun``."""

    concurrency: Count
    input_per_ks: Count
    output_per_ks: Count
    first_token_ms: Count
    input_j_per_m: Count | None
    output_j_per_m: Count | None


class ClaimEntry(Document, frozen=True):
    """What a provider says that it measured of a variant. Nobody checks it."""

    measured_at_ms: Count
    energy_source: str
    runs: list[ClaimedRunEntry]


class OfferEntry(Document, frozen=True):
    """One provider's variant; prices per million units."""

    provider: Address
    addresses: list[str]
    model: str
    precision: str
    build: str
    context_units: Count
    kinds: list[str]
    price_input: Amount
    price_cached: Amount
    price_output: Amount
    price_request: Amount
    expires_at_ms: Count
    claim: ClaimEntry | None


class Turned(Document, frozen=True):
    """A provider that will not do, and why."""

    provider: Address
    why: str


class QuoteDocument(Document, frozen=True):
    """``rowen quote``: offers best first, and everyone else with a reason."""

    model: str
    offers: list[OfferEntry]
    rejected: list[Turned]


class TextLine(Document, frozen=True, tag_field="type", tag="text"):
    """``rowen run``: a piece of the answer, as it arrives."""

    text: str


class PartEntry(Document, frozen=True):
    """What one provider contributed to an answer.

    Attributes:
        provider: Whose part.
        variant: What it ran.
        input_units: Prompt tokens.
        output_units: Tokens received; all of them are billed unless the provider vanished.
        billed_units: Of these, on receipts.
        cost: What its receipts add up to.
        receipts: Their numbers in the channel's log.
        voucher_total: What the channel's newest voucher then promised in all; null without one.
        is_settled: Whether its last receipt came.
        energy_mj: What its provider says the job used so far; 0 when the source is ``none``.
        energy_source: Where that is known from; it is the provider's word, signed on the receipt.
        energy_is_shared: Whether others were at work on the device, so that it is a share.
        energy_is_weak: Whether it was metered for less than a second, or not throughout.
    """

    provider: Address
    variant: Hash
    input_units: Count
    output_units: Count
    billed_units: Count
    cost: Amount
    receipts: list[Count]
    voucher_total: Amount | None
    is_settled: bool
    energy_mj: Count
    energy_source: EnergyWord
    energy_is_shared: bool
    energy_is_weak: bool


class ResultLine(Document, frozen=True, tag_field="type", tag="result"):
    """``rowen run``: the last line. ``cost`` is what the receipts in ``parts`` add up to."""

    finish: Literal["stop", "length", "cancelled", "preempted", "failed"]
    model: str
    text: str
    input_units: Count
    output_units: Count
    cost: Amount
    first_token_ms: Count | None
    elapsed_ms: Count
    parts: list[PartEntry]
    attempts: list[Turned]


class EmbedDocument(Document, frozen=True):
    """``rowen embed``: a vector for each text, in their order.

    Attributes:
        finish: Why it ended.
        model: As asked for.
        vectors: Numbers, each exactly a float32.
        input_units: Tokens of the texts.
        output_units: Numbers received.
        cost: What the receipts in ``parts`` add up to.
        elapsed_ms: From the question to the end.
        parts: Who contributed what.
        attempts: Providers that could not serve or go on, and why.
    """

    finish: Literal["stop", "length", "cancelled", "preempted", "failed"]
    model: str
    vectors: list[list[float]]
    input_units: Count
    output_units: Count
    cost: Amount
    elapsed_ms: Count
    parts: list[PartEntry]
    attempts: list[Turned]


class OcrDocument(Document, frozen=True):
    """``rowen ocr``: the text of each page, in their order; see ``EmbedDocument`` for the rest."""

    finish: Literal["stop", "length", "cancelled", "preempted", "failed"]
    model: str
    pages: list[str]
    input_units: Count
    output_units: Count
    cost: Amount
    elapsed_ms: Count
    parts: list[PartEntry]
    attempts: list[Turned]


RunLine = TextLine | ResultLine
"""``rowen run --json`` prints one of these a line; the last is the result, or an error."""
