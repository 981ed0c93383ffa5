"""A node's numbers as Prometheus reads them. Every family the node can show is in ``FAMILIES``.

Money is in the token's smallest units. A counter starts again at zero with the process; what
the journal remembers is a gauge. What is unknown is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import trio

import rowen
from rowen.metrics import Family, Kind, Sample
from rowen.protocol.errors import Reason
from rowen.protocol.jobs import Finish
from rowen.provider.lease_reports import GpuReport
from rowen.provider.node import Provider
from rowen.provider.observing import Observed
from rowen.provider.readiness import Condition, is_ready
from rowen_scheduler.placement import LeaseState, Why

FAMILIES: Final[dict[str, Family]] = {}


def _gauge(name: str, meaning: str, label: str = "") -> Family:
    return FAMILIES.setdefault(name, Family(name, Kind.GAUGE, meaning, label))


def _counter(name: str, meaning: str, label: str = "") -> Family:
    return FAMILIES.setdefault(name, Family(name, Kind.COUNTER, meaning, label))


INFO = _gauge("rowen_info", "1; the label says which version runs.", "version")
READY = _gauge("rowen_ready", "1 when the node takes work, as /readyz says.")
CONDITION = _gauge("rowen_condition", "1 when this condition of readiness is met.", "condition")
ALERT = _gauge("rowen_alert", "1 while this alert is raised.", "alert")
WEBHOOKS = _counter("rowen_webhooks_total", "Messages to webhooks, by outcome.", "outcome")

SESSIONS = _gauge("rowen_sessions", "Clients connected.")
CHANNELS = _gauge("rowen_channels", "Channels in the books.")
VARIANT_READY = _gauge("rowen_variant_ready", "1 while jobs of it are taken.", "variant")
RUNNING = _gauge("rowen_jobs_running", "Jobs that run now.", "variant")
WAITING = _gauge("rowen_jobs_waiting", "Jobs that wait for a place.", "variant")
PLACES = _gauge("rowen_places", "Jobs that may run at the same time.", "variant")
JOBS = _counter("rowen_jobs_total", "Jobs that ended, by how.", "outcome")
REFUSALS = _counter("rowen_refusals_total", "Orders and clients turned away, by why.", "reason")
UNITS = _counter(
    "rowen_units_total", "Tokens of jobs that ended; cached ones are a part of input.", "kind"
)

BILLED = _gauge("rowen_billed_token_units", "What all receipts add up to.")
PROMISED = _gauge("rowen_promised_token_units", "Of that, covered by vouchers.")
CLAIMED = _gauge("rowen_claimed_token_units", "Of that, claimed on chain.")
UNCLAIMED = _gauge("rowen_unclaimed_token_units", "In vouchers that are not on chain yet.")
UNCLAIMED_AGE = _gauge(
    "rowen_unclaimed_age_seconds", "Since the oldest receipt that no claim covers was written."
)
LEAVING = _gauge("rowen_leaving_token_units", "Unclaimed from payers who asked to leave.")
RISK = _gauge("rowen_risk_token_units", "What clients could leave unpaid now.")
CREDIT = _gauge("rowen_credit_token_units", "Claimed on chain and not swept.")

CHAIN_UP = _gauge("rowen_chain_up", "1 when the last look at the chain had an answer.")
CHAIN_AGE = _gauge("rowen_chain_answer_age_seconds", "Since the chain last answered.")
BLOCK = _gauge("rowen_chain_block", "Height of the newest block.")
BLOCK_AGE = _gauge("rowen_chain_block_age_seconds", "This machine's clock less the newest block's.")
PENDING = _gauge("rowen_transaction_pending_seconds", "How long a transaction has been waiting.")
GAS = _gauge("rowen_gas_wei", "What the operator key holds for gas.")
GAS_PRICE = _gauge("rowen_gas_price_wei", "For a unit of gas.")

DISK_FREE = _gauge("rowen_disk_free_bytes", "Free where the journal is.")
JOURNAL = _gauge("rowen_journal_bytes", "Size of the journal.")

GPU_LEASED = _gauge("rowen_gpu_leased", "1 while the GPU is lent.", "gpu")
GPU_PAUSED = _gauge("rowen_gpu_paused", "1 while its owner has switched lending off.", "gpu")
GPU_LOST = _gauge("rowen_gpu_lost", "1 while the GPU does not answer.", "gpu")
GPU_ENERGY = _counter("rowen_gpu_energy_mj_total", "Energy drawn, whoever used it.", "gpu")
GPU_SM = _gauge("rowen_gpu_sm_percent", "Time in which a kernel ran.", "gpu")
GPU_ENCODER = _gauge("rowen_gpu_encoder_percent", "Load of the video encoder.", "gpu")
GPU_MEMORY = _gauge("rowen_gpu_memory_used_bytes", "Device memory in use.", "gpu")
GPU_MEMORY_ALL = _gauge("rowen_gpu_memory_total_bytes", "Device memory.", "gpu")
GPU_POWER = _gauge("rowen_gpu_power_mw", "Power drawn.", "gpu")

MAY_BE_ABSENT: Final = frozenset(
    family.name for family in (GPU_SM, GPU_ENCODER, GPU_MEMORY, GPU_MEMORY_ALL, GPU_POWER)
)
"""What not every device measures: absent, and not 0."""


def samples(
    provider: Provider,
    seen: Observed,
    *,
    now_ms: int,
    at_risk: int,
    conditions: Sequence[Condition],
    alerts: Mapping[str, bool],
    webhooks: Mapping[str, int],
    gpus: Sequence[GpuReport],
) -> Iterator[Sample]:
    """All numbers of this moment.

    Args:
        provider: The node.
        seen: Its surroundings.
        now_ms: Unix time.
        at_risk: What clients could leave unpaid, token units.
        conditions: Of readiness.
        alerts: Every alert there can be, and whether it is raised.
        webhooks: Messages by outcome.
        gpus: One by one.
    """
    yield Sample(INFO, 1, rowen.__version__)
    yield Sample(READY, int(is_ready(conditions)))
    for condition in conditions:
        yield Sample(CONDITION, int(condition.is_met), condition.name)
    for name, is_raised in alerts.items():
        yield Sample(ALERT, int(is_raised), name)
    for outcome, count in webhooks.items():
        yield Sample(WEBHOOKS, count, outcome)
    yield Sample(RISK, at_risk)
    yield from _work(provider)
    yield from _chain(seen, now_ms)
    yield from _money(provider, seen)
    for gpu in gpus:
        yield from _gpu(gpu)
    if seen.disk_free_bytes is not None:
        yield Sample(DISK_FREE, seen.disk_free_bytes)
        yield Sample(JOURNAL, seen.journal_bytes)


def _gpu(gpu: GpuReport) -> Iterator[Sample]:
    yield Sample(GPU_LEASED, int(gpu.state == LeaseState.LEASED), gpu.uuid)
    yield Sample(GPU_PAUSED, int(gpu.is_paused), gpu.uuid)
    yield Sample(GPU_LOST, int(gpu.why == Why.LOST), gpu.uuid)
    yield Sample(GPU_ENERGY, gpu.energy_mj, gpu.uuid)
    measured = {
        GPU_SM: gpu.sm_percent,
        GPU_ENCODER: gpu.encoder_percent,
        GPU_MEMORY: gpu.memory_used_bytes,
        GPU_MEMORY_ALL: gpu.memory_total_bytes,
        GPU_POWER: gpu.power_mw,
    }
    for family, value in measured.items():
        if value is not None:
            yield Sample(family, value, gpu.uuid)


def _work(provider: Provider) -> Iterator[Sample]:
    yield Sample(SESSIONS, provider.sessions)
    yield Sample(CHANNELS, len(provider.books.accounts))
    for shelf in provider.stock.shelves.values():
        variant = shelf.variant
        label = f"{variant.model}:{variant.precision}:{variant.id.hex()[:8]}"
        yield Sample(VARIANT_READY, int(shelf.is_ready), label)
        yield Sample(RUNNING, shelf.running, label)
        yield Sample(WAITING, shelf.waiting, label)
        yield Sample(PLACES, shelf.places, label)
    for finish in Finish:
        yield Sample(JOBS, provider.tally.jobs[finish], finish.value)
    for reason in Reason:
        yield Sample(REFUSALS, provider.tally.refusals[reason], reason.value)
    for kind in ("input", "cached", "output"):
        yield Sample(UNITS, provider.tally.units[kind], kind)


def _chain(seen: Observed, now_ms: int) -> Iterator[Sample]:
    yield Sample(CHAIN_UP, int(not seen.chain.why))
    if seen.chain.well_at_s is not None:
        yield Sample(CHAIN_AGE, trio.current_time() - seen.chain.well_at_s)
    if seen.block is not None:
        yield Sample(BLOCK, seen.block)
        yield Sample(BLOCK_AGE, now_ms / 1000 - seen.block_at_s)
    waits_s = 0.0 if seen.pending_since_s is None else trio.current_time() - seen.pending_since_s
    yield Sample(PENDING, waits_s)


def _money(provider: Provider, seen: Observed) -> Iterator[Sample]:
    states = [account.state for account in provider.books.accounts.values()]
    promised = sum(state.paid.total for state in states)
    yield Sample(BILLED, sum(state.issued.total for state in states))
    yield Sample(PROMISED, promised)
    money = seen.money
    if money is None:
        return
    yield Sample(CLAIMED, promised - money.unclaimed)
    yield Sample(UNCLAIMED, money.unclaimed)
    yield Sample(UNCLAIMED_AGE, money.oldest_unclaimed_s)
    yield Sample(LEAVING, money.leaving)
    yield Sample(CREDIT, money.credit)
    yield Sample(GAS, money.gas_wei)
    yield Sample(GAS_PRICE, money.gas_price_wei)
