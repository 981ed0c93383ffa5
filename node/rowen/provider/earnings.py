"""What a provider earned and what that cost, read from the journal and the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Literal

import msgspec

from rowen.chain.base import Escrow, Spent, Wallet
from rowen.protocol.eip712 import Domain
from rowen.protocol.statements import Order, Receipt
from rowen.provider.ledger import Channel, Line, Sale, Standing, bill, total
from rowen.provider.wall import day_after, day_of, day_starts_ms
from rowen.store.base import Journal

Grouping = Literal["day", "variant", "channel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an owner wants to know.

    Attributes:
        by: What a line is about.
        since: First day, on the owner's wall; None for the beginning.
        until: Last day; None for now.
        zone: Of the wall.
        coin_value: What 10^18 wei are worth, token units; 0 when that is not set.
        kwh: Price of a kilowatt-hour, token units; 0 when that is not set.
        confirmations: Blocks on a claim before it counts as settled.
    """

    by: Grouping = "day"
    since: date | None = None
    until: date | None = None
    zone: tzinfo
    coin_value: int = 0
    kwh: int = 0
    confirmations: int = 0

    def covers(self, at_ms: int) -> bool:
        """Whether an instant is in its days."""
        if self.since and at_ms < day_starts_ms(self.since, self.zone):
            return False
        return not self.until or at_ms < day_starts_ms(day_after(self.until), self.zone)


class LineReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the books; see ``ledger.Line`` and ``ledger.Bill``. Amounts are token units.

    Attributes:
        key: A date, or the id of a variant or channel; empty for the total.
        gas_wei: What transactions cost; None in lines by variant or channel, which share them.
    """

    key: str
    jobs: int
    receipts: int
    input_units: int
    output_units: int
    potential: int
    earned: int
    settled: int
    energy_mj: int
    unmetered_jobs: int
    gas_wei: int | None
    gas: int | None
    power: int | None
    net: int
    unknown: tuple[str, ...]


class EarningsReport(msgspec.Struct, frozen=True, kw_only=True):
    """The books of a time.

    Attributes:
        by: What a line is about.
        lines: In order of their keys.
        total: All of them, with all gas.
        credit: On chain and not withdrawn, now; token units.
    """

    by: Grouping
    lines: list[LineReport]
    total: LineReport
    credit: int


async def read_earnings(
    question: Question, *, provider: bytes, journal: Journal, escrow: Escrow, wallet: Wallet
) -> EarningsReport:
    """Answers the question.

    Raises:
        Unavailable: Journal or chain does not answer; half an answer about money is none.
    """
    standings = await _standings(journal, escrow, question.confirmations)
    key_to_line: dict[str, Line] = {}
    for channel_id, standing in standings.items():
        async for sale in _sales(journal, channel_id):
            if question.covers(sale.at_ms):
                key_to_line.setdefault(_key(question, sale), Line()).add(sale, standing)
    spent = [one for one in await wallet.spent() if question.covers(one.time_s * 1000)]
    key_to_gas = _gas_by_day(question, spent)
    for key in key_to_gas:
        key_to_line.setdefault(key, Line())
    lines = [
        _report(question, key, line, key_to_gas.get(key, 0) if question.by == "day" else None)
        for key, line in sorted(key_to_line.items())
    ]
    return EarningsReport(
        by=question.by,
        lines=lines,
        total=_report(question, "", total(key_to_line.values()), sum(one.fee_wei for one in spent)),
        credit=await escrow.credit(provider),
    )


async def _standings(journal: Journal, escrow: Escrow, confirmations: int) -> dict[bytes, Standing]:
    domain = escrow.deployment.domain
    ids = [
        opened.channel_id
        for opened in await journal.openings("seller")
        if Domain(opened.chain_id, opened.escrow) == domain
    ]
    counts = {kept.channel_id: kept.receipt_count for kept in await journal.vouchers("seller")}
    views = await escrow.channels(ids, confirmations=confirmations)
    return {
        channel_id: Standing(receipt_count=counts.get(channel_id, 0), claimed=view.claimed)
        for channel_id, view in zip(ids, views, strict=True)
    }


async def _sales(journal: Journal, channel_id: bytes) -> AsyncIterator[Sale]:
    channel = Channel(channel_id)
    async for kept in journal.orders_of(channel_id):
        channel.ordered(kept.job_id, Order.decode(kept.order.words).variant)
    async for receipt in journal.receipts_of(channel_id):
        yield channel.sold(receipt.job_id, Receipt.decode(receipt.receipt.words))


def _key(question: Question, sale: Sale) -> str:
    if question.by == "day":
        return day_of(sale.at_ms, question.zone).isoformat()
    return "0x" + (sale.variant if question.by == "variant" else sale.channel_id).hex()


def _gas_by_day(question: Question, spent: Sequence[Spent]) -> dict[str, int]:
    found: dict[str, int] = {}
    if question.by == "day":
        for one in spent:
            day = day_of(one.time_s * 1000, question.zone).isoformat()
            found[day] = found.get(day, 0) + one.fee_wei
    return found


def _report(question: Question, key: str, line: Line, gas_wei: int | None) -> LineReport:
    costs = bill(line, gas_wei, question.coin_value, question.kwh)
    return LineReport(
        key=key,
        jobs=line.jobs,
        receipts=line.receipts,
        input_units=line.input_units,
        output_units=line.output_units,
        potential=line.potential,
        earned=line.earned,
        settled=line.settled,
        energy_mj=line.energy_mj,
        unmetered_jobs=line.unmetered_jobs,
        gas_wei=gas_wei,
        gas=costs.gas,
        power=costs.power,
        net=costs.net,
        unknown=costs.unknown,
    )
