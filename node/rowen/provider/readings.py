"""What an owner's alerts watch: each reading from what the node has seen, and its words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rowen.config import WatchConfig
from rowen.protocol.amounts import format_usd
from rowen.provider.alerts import Reading
from rowen.provider.observing import Observed

MEGABYTE: Final = 1_000_000
CLAIM_GAS: Final = 65_000
"""A claim of one row, rounded up from the measured 46,830 and a provider's first credit."""

HOLD_S: Final = 60
"""What mends itself within a minute is not worth a call."""

ALERTS: Final = (
    "unclaimed_old",
    "value_at_risk",
    "payer_leaving",
    "gas_low",
    "chain_away",
    "chain_lagging",
    "transaction_stuck",
    "engine_away",
    "disk_low",
    "gpu_lost",
)
"""Every alert there can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """One moment.

    Attributes:
        seen: What the node knows.
        at_risk: What clients could leave unpaid, token units.
        gpus_lost: How many GPUs do not answer.
        now_ms: Unix time.
        now_s: trio's clock.
    """

    seen: Observed
    at_risk: int
    gpus_lost: int
    now_ms: int
    now_s: float


def readings_of(around: Surroundings, limits: WatchConfig) -> list[Reading]:
    """Everything that is watched, one reading for each of ``ALERTS``."""
    return [
        _unclaimed_old(around, limits),
        _value_at_risk(around, limits),
        _payer_leaving(around),
        _gas_low(around, limits),
        _chain_away(around),
        _chain_lagging(around, limits),
        _transaction_stuck(around, limits),
        _engine_away(around),
        _disk_low(around, limits),
        _gpu_lost(around),
    ]


def _unclaimed_old(around: Surroundings, limits: WatchConfig) -> Reading:
    money = around.seen.money
    age_s = None if money is None else money.oldest_unclaimed_s
    return Reading(
        name="unclaimed_old",
        severity="critical",
        level=age_s,
        limit=limits.unclaimed_age_s,
        text=f"The oldest unclaimed receipt is {(age_s or 0) // 60} minutes old: `rowen doctor` "
        "says what keeps the node from claiming, `rowen settle` claims.",
    )


def _value_at_risk(around: Surroundings, limits: WatchConfig) -> Reading:
    return Reading(
        name="value_at_risk",
        severity="warning",
        level=around.at_risk,
        limit=max(1, limits.value_at_risk.units),
        text=f"Clients could leave {format_usd(around.at_risk)} unpaid: [provider] credit_total "
        "bounds it.",
    )


def _payer_leaving(around: Surroundings) -> Reading:
    money = around.seen.money
    leaving = None if money is None else money.leaving
    return Reading(
        name="payer_leaving",
        severity="critical",
        level=leaving,
        limit=1,
        text=f"Payers asked to leave with {format_usd(leaving or 0)} unclaimed: the node claims it "
        "now, if the chain answers and gas money is there.",
    )


def _gas_low(around: Surroundings, limits: WatchConfig) -> Reading:
    money = around.seen.money
    return Reading(
        name="gas_low",
        severity="critical",
        level=None if money is None else money.gas_wei,
        limit=0 if money is None else limits.gas_claims * CLAIM_GAS * money.gas_price_wei,
        is_low_bad=True,
        text=f"The gas money lasts for no more than {limits.gas_claims} claims: send the operator "
        "address some.",
    )


def _chain_away(around: Surroundings) -> Reading:
    chain = around.seen.chain
    return Reading(
        name="chain_away",
        severity="critical",
        level=int(bool(chain.why)) if chain.looked else None,
        limit=1,
        hold_s=HOLD_S,
        text=chain.why or "The chain answers again.",
    )


def _chain_lagging(around: Surroundings, limits: WatchConfig) -> Reading:
    seen = around.seen
    lag_s = None if seen.block is None else max(0, around.now_ms // 1000 - seen.block_at_s)
    return Reading(
        name="chain_lagging",
        severity="warning",
        level=lag_s,
        limit=limits.chain_lag_s,
        text=f"The newest block is {lag_s or 0} s old: the endpoint lags, or this machine's clock "
        "is wrong.",
    )


def _transaction_stuck(around: Surroundings, limits: WatchConfig) -> Reading:
    since_s = around.seen.pending_since_s
    waits_s = 0 if since_s is None else int(around.now_s - since_s)
    return Reading(
        name="transaction_stuck",
        severity="warning",
        level=waits_s,
        limit=limits.stuck_s,
        text=f"A transaction has been waiting for {waits_s} s: is [chain] fee_max_gwei too low?",
    )


def _engine_away(around: Surroundings) -> Reading:
    engine = around.seen.engine
    return Reading(
        name="engine_away",
        severity="critical",
        level=int(bool(engine.why)) if engine.looked else None,
        limit=1,
        hold_s=HOLD_S,
        text=engine.why or "The engine answers again.",
    )


def _disk_low(around: Surroundings, limits: WatchConfig) -> Reading:
    free = around.seen.disk_free_bytes
    return Reading(
        name="disk_low",
        severity="critical",
        level=free,
        limit=limits.disk_free_mb * MEGABYTE,
        is_low_bad=True,
        text=f"{(free or 0) // MEGABYTE} MB are free where the journal is: without a disk the node "
        "ends.",
    )


def _gpu_lost(around: Surroundings) -> Reading:
    return Reading(
        name="gpu_lost",
        severity="critical",
        level=around.gpus_lost,
        limit=1,
        hold_s=HOLD_S,
        text=f"{around.gpus_lost} of the GPUs do not answer: see `rowen gpu` and the kernel's log.",
    )
