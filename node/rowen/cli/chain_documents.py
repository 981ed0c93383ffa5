"""What ``--json`` prints of the contracts: deployments, bonds, reports."""

from __future__ import annotations

from typing import Literal

from rowen.cli.document_types import Count, Document
from rowen.cli.documents import Address, Amount, Hash, Transaction


class DeployedDocument(Document, frozen=True):
    """``rowen chain deploy``.

    Attributes:
        chain_id: EIP-155.
        block: The escrow's first; null when nothing was sent because of ``--plan``.
        token: The one ERC-20.
        escrow: Address.
        unlock_delay_s: Of the escrow.
        payout_delay_s: Of the escrow.
        min_lock: Of the escrow.
        stake: Address.
        unbond_delay_s: Of the stake.
        penalty: Of the stake.
        source_sha256: Of the build.
        transactions: Empty when all was there already.
        record: The file that was written, or empty.
    """

    chain_id: Count
    block: Count | None
    token: Address
    escrow: Address
    unlock_delay_s: Count
    payout_delay_s: Count
    min_lock: Amount
    stake: Address
    unbond_delay_s: Count
    penalty: Amount
    source_sha256: str
    transactions: list[Transaction]
    record: str


class CheckEntry(Document, frozen=True):
    """One thing that was compared; see ``chain.verification.Check``."""

    contract: str
    name: str
    status: Literal["right", "wrong", "unknown"]
    expected: str
    actual: str


class CheckedDocument(Document, frozen=True):
    """``rowen chain verify``. ``is_right`` is false, and the exit code 1, if one check is wrong."""

    record: str
    chain_id: Count
    escrow: Address
    stake: Address
    is_right: bool
    checks: list[CheckEntry]


class StakeDocument(Document, frozen=True):
    """``rowen stake …``: what a provider has at stake, after the step.

    Attributes:
        stake: The contract.
        provider: Operator address.
        bonded: All of it; all of it can be slashed.
        active: What has not been asked back; what clients count.
        leaving: What has.
        leave_at_s: Unix time from which that can be withdrawn; 0 if nothing leaves.
        unbond_delay_s: From asking to withdrawing.
        penalty: What one offence costs.
        step: What was done.
        transaction: Null when nothing was sent.
    """

    stake: Address
    provider: Address
    bonded: Amount
    active: Amount
    leaving: Amount
    leave_at_s: Count
    unbond_delay_s: Count
    penalty: Amount
    step: Literal["shown", "bonded", "requested", "cancelled", "withdrawn"]
    transaction: Transaction | None


class OffenceEntry(Document, frozen=True):
    """One thing that a provider's own signatures prove against it.

    Attributes:
        offence: Which.
        status: ``would_be_slashed`` in a dry run; ``slashed``, or ``refused`` by the contract;
            ``punished`` before; ``nothing_bonded`` to take; ``unfinished`` when gas or the chain
            gave out after others had been reported.
        provider: Who signed.
        payer: With it, whose channel.
        channel_id: Hexadecimal.
        sequence: Of the receipt that is punished.
        detail: What contradicts what, or why it was refused or not finished.
        burned: What it costs beside the reward, token units.
        reward: What the reporter gets.
        transaction: Null when nothing was sent.
    """

    offence: Literal["equivocation", "broken_total", "charged_failure"]
    status: Literal[
        "would_be_slashed", "slashed", "refused", "punished", "nothing_bonded", "unfinished"
    ]
    provider: Address
    payer: Address
    channel_id: Hash
    sequence: Count
    detail: str
    burned: Amount
    reward: Amount
    transaction: Transaction | None


class ReportDocument(Document, frozen=True):
    """``rowen audit report``. Nothing is sent unless ``is_submitted``.

    Attributes:
        stake: The contract.
        escrow: Whose receipts it punishes.
        reporter: Who gets the rewards.
        channels: How many were looked through.
        receipts: How many.
        unread: Files of the bundles that could not be read to their end, each with the reason;
            what stands behind may prove more.
        is_submitted: Whether the offences were reported.
        offences: All that is proved.
        burned: Of all of them, token units.
        reward: Of all of them.
    """

    stake: Address
    escrow: Address
    reporter: Address
    channels: Count
    receipts: Count
    unread: list[str]
    is_submitted: bool
    offences: list[OffenceEntry]
    burned: Amount
    reward: Amount


class WishDocument(Document, frozen=True):
    """``rowen channel sign``: a file that anybody can send; see ``chain.wishes.Wish``.

    Attributes:
        file: Where it was written.
        kind: What is wished.
        channel_id: Hexadecimal.
        payer: Who signs.
        provider: Of the channel.
        amount: Of a lock, else 0.
        by: Of a lock: what is signed.
        deadline_s: Unix time after which nobody can send it.
        is_signed: False when a wallet elsewhere has to.
    """

    file: str
    kind: Literal["lock", "leave", "stay"]
    channel_id: Hash
    payer: Address
    provider: Address
    amount: Amount
    by: Literal["permit", "authorization", "permit2", "approve"] | None
    deadline_s: Count
    is_signed: bool


class SentDocument(Document, frozen=True):
    """``rowen channel send``: a wish that came true, and the channel after it."""

    kind: Literal["lock", "leave", "stay"]
    channel_id: Hash
    payer: Address
    provider: Address
    locked: Amount
    unlock_at_s: Count
    transaction: Transaction
