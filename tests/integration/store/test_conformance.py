"""What every journal does, on disk and in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from tests.integration.store.conftest import InMemory, OnDisk, Storage
from tests.integration.store.entries import (
    CHANNEL,
    a_whole_channel,
    named,
    opened,
    order,
    receipt,
    settled,
    voucher,
)
from tests.integration.store.kept import kept, kept_all
from tests.integration.store.strategies import histories

from rowen.chain.transactions import Attempt, Outcome, TransactionLog
from rowen.protocol.errors import Reason, Refused, UserError
from rowen.protocol.statements import AMOUNT_MAX
from rowen.store.base import (
    ChannelStopped,
    Contradiction,
    Entry,
    JobDropped,
    JobReplayed,
    Journal,
    JournalFailed,
    LogSettled,
    OrderKept,
    ReceiptKept,
    VoucherKept,
)

# --- what was written comes back ------------------------------------------------------------


async def test_a_channel_comes_back_after_a_restart_as_it_was_appended(storage: Storage) -> None:
    """Recovery replays the history, so order and every field count."""
    entries = a_whole_channel()
    async with storage.open() as journal:
        for entry in entries:
            await journal.append(entry)
        before = await kept(journal, CHANNEL)
    async with storage.open() as journal:
        stored = await kept(journal, CHANNEL)
        assert await kept(journal, CHANNEL) == stored
    assert stored == before
    assert [stored.opened, *stored.history] == entries
    assert [r.sequence for r in stored.receipts] == [0, 1]
    assert len(stored.orders) == 2
    assert stored.voucher.total == AMOUNT_MAX
    assert stored.dropped[0].detail == "busy"
    assert stored.dispute.detail == "too dear"
    assert stored.stopped == "receipt 7 is disputed"


@given(entries=histories())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_entry_survives_a_restart(entries: list[Entry]) -> None:
    """Amounts to 2^96 - 1, counts to 2^63 - 1, any text, any bytes."""

    async def round_trip() -> None:
        with tempfile.TemporaryDirectory() as directory:
            for storage in (OnDisk(Path(directory)), InMemory()):
                async with storage.open() as journal:
                    await journal.append(*entries)
                async with storage.open() as journal:
                    key = entries[0].channel_id
                    stored = await kept(journal, key)
                    told = [one async for one in journal.orders_of(key)]
                    told += [one async for one in journal.receipts_of(key)]
                    told += [one async for one in journal.vouchers_of(key)]
                at = [n for n, one in enumerate(entries) if isinstance(one, LogSettled)]
                assert stored.opened == entries[0]
                assert list(stored.history) == entries[at[-1] if at else 1 :]
                for kind in (OrderKept, ReceiptKept, VoucherKept):
                    assert [one for one in told if isinstance(one, kind)] == [
                        one for one in entries if isinstance(one, kind)
                    ]

    trio.run(round_trip)


async def test_an_empty_journal_has_an_answer_to_every_question(storage: Storage) -> None:
    async with storage.open() as journal:
        assert await kept_all(journal, "seller") == []
        assert await kept(journal, CHANNEL) is None
        assert await journal.vouchers("buyer") == []
        assert await journal.receipt(CHANNEL, 0) is None
        assert [r async for r in journal.receipts_of(CHANNEL)] == []
        assert [r async for r in journal.orders_of(CHANNEL)] == []
        assert [r async for r in journal.vouchers_of(CHANNEL)] == []
        await journal.append()


async def test_channels_are_listed_by_side_and_oldest_first(storage: Storage) -> None:
    ids = [named(f"channel {number}") for number in range(5)]
    async with storage.open() as journal:
        for number, key in enumerate(ids):
            await journal.append(*a_whole_channel(key, role=("seller", "buyer")[number % 2]))
        assert [c.opened.channel_id for c in await kept_all(journal, "seller")] == ids[::2]
        assert [c.opened.channel_id for c in await kept_all(journal, "buyer")] == ids[1::2]
        assert [o.channel_id for o in await journal.openings("seller")] == ids[::2]
        assert [v.channel_id for v in await journal.vouchers("buyer")] == ids[1::2]
        assert {v.receipt_count for v in await journal.vouchers("seller")} == {2}


async def test_long_logs_are_read_in_pages(storage: Storage) -> None:
    """Export and redelivery see every row once, whatever the size of a page."""
    count = 600
    jobs = [named(f"job {number}") for number in range(count)]
    async with storage.open() as journal:
        await journal.append(opened(), *(order(job) for job in jobs))
        await journal.append(*(receipt(n, job_id=jobs[n]) for n in range(count)))
        await journal.append(*(voucher(n + 1) for n in range(count)))
        assert [o.job_id async for o in journal.orders_of(CHANNEL)] == jobs
        assert [r.sequence async for r in journal.receipts_of(CHANNEL)] == list(range(count))
        counts = [v.receipt_count async for v in journal.vouchers_of(CHANNEL)]
        assert counts == list(range(1, count + 1))
        found = [await journal.receipt(CHANNEL, n) for n in (0, count - 1)]
        assert [r and r.sequence for r in found] == [0, count - 1]
        assert [r and r.text for r in found] == ["segment 0. ", f"segment {count - 1}. "]
        assert await journal.receipt(CHANNEL, count) is None


async def replayed(journal: Journal) -> list[Entry]:
    return [entry async for entry in journal.to_replay(CHANNEL)]


async def test_a_replay_is_the_whole_history_in_order(storage: Storage) -> None:
    """Also where it is longer than a page, and where one kind of entry runs ahead of another."""
    jobs = [named(f"job {number}") for number in range(700)]
    entries: list[Entry] = [order(job) for job in jobs[:300]]
    for number in range(300):
        entries += [receipt(number, job_id=jobs[number]), voucher(number + 1)]
    entries += [JobDropped(channel_id=CHANNEL, job_id=job, detail="busy") for job in jobs[:20]]
    entries += [order(job) for job in jobs[300:]]
    entries += [receipt(number, job_id=jobs[number]) for number in range(300, 700)]
    async with storage.open() as journal:
        assert await replayed(journal) == []
        await journal.append(opened())
        assert await replayed(journal) == []
        await journal.append(*entries)
    async with storage.open() as journal:
        assert await replayed(journal) == entries


async def test_a_replay_begins_where_the_log_was_settled_last(storage: Storage) -> None:
    """Else a node that served for a year would take minutes to start."""
    before: list[Entry] = [order(), receipt(0), voucher(1), settled(1), receipt(1), voucher(2)]
    last = settled(2)
    after = [receipt(2), order(named("other job")), voucher(3), receipt(3)]
    async with storage.open() as journal:
        await journal.append(opened(), *before, last)
        assert await replayed(journal) == [last]
        await journal.append(*after)
    async with storage.open() as journal:
        assert await replayed(journal) == [last, *after]


async def test_what_is_appended_during_a_replay_is_not_part_of_it(storage: Storage) -> None:
    async with storage.open() as journal:
        await journal.append(opened(), order(), *(receipt(number) for number in range(300)))
        read: list[Entry] = []
        async for entry in journal.to_replay(CHANNEL):
            if not read:
                await journal.append(voucher(300))
            read.append(entry)
        assert len(read) == 301
        assert await replayed(journal) == [*read, voucher(300)]


@pytest.mark.parametrize(
    "early",
    [settled(2), settled(1), settled(3)],
    ids=["unpaid", "less", "more"],
)
async def test_a_log_is_settled_only_where_all_of_it_is_paid(
    storage: Storage, early: LogSettled
) -> None:
    """A replay that began anywhere else would lose what is owed."""
    entries = [order(), receipt(0), receipt(1), voucher(1)]
    if early.receipt_count != 2:
        entries.append(voucher(2))
    async with storage.open() as journal:
        await journal.append(opened(), *entries)
        with pytest.raises(Contradiction, match="log is settled at"):
            await journal.append(early)


# --- what does not follow is refused --------------------------------------------------------


async def test_a_job_id_is_taken_once(storage: Storage) -> None:
    """Threat 1: an order replayed would be free work, also after a restart."""
    async with storage.open() as journal:
        await journal.append(opened(), order())
    async with storage.open() as journal:
        with pytest.raises(JobReplayed) as refused:
            await journal.append(order())
        assert isinstance(refused.value, Refused)
        assert refused.value.reason is Reason.JOB_REPLAYED
        with pytest.raises(JobReplayed):
            await journal.append(order(named("other job")), order())
        assert len((await kept(journal, CHANNEL)).orders) == 1
        # What was refused together with a known id is not known itself.
        await journal.append(order(named("other job")))


async def test_a_job_id_is_unique_across_the_channels_of_a_provider(storage: Storage) -> None:
    other = named("other channel")
    async with storage.open() as journal:
        await journal.append(opened(), opened(other), order())
        with pytest.raises(JobReplayed):
            await journal.append(order(channel_id=other))


async def test_both_sides_of_a_job_may_share_a_journal_on_two_channels(storage: Storage) -> None:
    """A buyer's jobs are not a seller's: one job id per role and provider."""
    theirs, elsewhere = named("bought"), named("bought elsewhere")
    async with storage.open() as journal:
        await journal.append(opened(theirs, role="buyer"), order(channel_id=theirs))
        await journal.append(opened(), order())
        provider = named("other provider", 20)
        await journal.append(
            opened(elsewhere, role="buyer", provider=provider), order(channel_id=elsewhere)
        )
        for channel_id in (theirs, CHANNEL, elsewhere):
            with pytest.raises(JobReplayed):
                await journal.append(order(channel_id=channel_id))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (receipt(1), "number 1, the log has 2"),
        (receipt(3), "number 3, the log has 2"),
        (receipt(2, job_id=named("unknown")), "was not ordered on this channel"),
        (JobDropped(channel_id=CHANNEL, job_id=named("unknown")), "was not ordered"),
        (voucher(1), "covers 1 receipts, the one before 1"),
        (voucher(3), "the log has 2"),
        (voucher(2, total=9), "fell from 10 to 9"),
        (receipt(0, channel_id=named("unknown")), "was never opened"),
    ],
)
async def test_an_entry_that_does_not_follow_is_a_contradiction(
    storage: Storage, entry: Entry, words: str
) -> None:
    """Sequences have no gaps, totals never fall, nothing comes before its cause."""
    async with storage.open() as journal:
        await journal.append(opened(), order(), receipt(0), receipt(1), voucher(1))
        before = await kept(journal, CHANNEL)
        with pytest.raises(Contradiction, match=words):
            await journal.append(ChannelStopped(channel_id=CHANNEL, detail="no"), entry)
        assert await kept(journal, CHANNEL) == before
        await journal.append(receipt(2), voucher(3))


@pytest.mark.parametrize(
    "entry",
    [
        voucher(1, total=AMOUNT_MAX + 1),
        voucher(1, total=-1),
        receipt(0, text="half a \ud800"),
        receipt(0, job_id=b"short"),
        order(named("another"), input_units=2**63),
        opened(b"short"),
        opened(named("x"), role="both"),
        opened(named("x"), payer=bytes(32)),
    ],
    ids=str,
)
async def test_a_field_that_does_not_fit_its_type_is_refused(
    storage: Storage, entry: Entry
) -> None:
    async with storage.open() as journal:
        await journal.append(opened(), order())
        with pytest.raises(ValueError, match=r"."):
            await journal.append(entry)
        await journal.append(receipt(0))


async def test_opening_a_channel_twice_changes_nothing(storage: Storage) -> None:
    async with storage.open() as journal:
        await journal.append(opened())
        await journal.append(opened(), order())
        await journal.append(opened(), opened())
        assert len(await kept_all(journal, "seller")) == 1


@pytest.mark.parametrize("change", [{"role": "buyer"}, {"chain_id": 1}, {"escrow": bytes(20)}])
async def test_a_channel_has_one_side_and_one_deployment(
    storage: Storage, change: dict[str, Any]
) -> None:
    """Threat 3: a channel id says nothing of chain and contract, so the journal must."""
    async with storage.open() as journal:
        await journal.append(opened())
        with pytest.raises(UserError, match="data directory"):
            await journal.append(opened(**change))


# --- many at once ---------------------------------------------------------------------------


async def test_a_refused_append_fails_alone(storage: Storage) -> None:
    """Those that share its transaction are kept."""
    outcomes: dict[int, bool] = {}

    async def append(journal: Journal, number: int) -> None:
        try:
            await journal.append(order(named(f"job {number // 2}")))
        except JobReplayed:
            outcomes[number] = False
        else:
            outcomes[number] = True

    async with storage.open() as journal:
        await journal.append(opened())
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(append, journal, number)
        stored = await kept(journal, CHANNEL)
    assert sum(outcomes.values()) == len(stored.orders) == 50


async def test_tasks_on_many_channels_take_turns(storage: Storage) -> None:
    """Every task makes progress: nobody waits for all of another's appends."""
    finished: list[int] = []
    ids = [named(f"channel {number}") for number in range(16)]

    async def work(journal: Journal, number: int) -> None:
        for sequence in range(20):
            await journal.append(
                receipt(sequence, ids[number], ids[number]), voucher(sequence + 1, ids[number])
            )
            finished.append(number)

    async with storage.open() as journal:
        for key in ids:
            await journal.append(opened(key), order(key, key))
        async with trio.open_nursery() as nursery:
            for number in range(len(ids)):
                nursery.start_soon(work, journal, number)
        for key in ids:
            assert len((await kept(journal, key)).receipts) == 20
    assert set(finished[: len(finished) // 2]) == set(range(len(ids)))


async def test_a_cancelled_append_is_whole_or_absent(storage: Storage) -> None:
    """Cancelled at any moment, and the journal goes on."""
    async with storage.open() as journal:
        await journal.append(opened(), order())
        for trial in range(30):
            count = len((await kept(journal, CHANNEL)).receipts)
            with trio.move_on_after(trial * 0.0002):
                await journal.append(receipt(count), voucher(count + 1))
            # What was handed over may still be on its way; the next append comes after it.
            await journal.append(ChannelStopped(channel_id=CHANNEL, detail="barrier"))
            stored = await kept(journal, CHANNEL)
            assert len(stored.receipts) in (count, count + 1)
            assert stored.receipts == () or stored.voucher.receipt_count == len(stored.receipts)


async def test_a_closed_journal_takes_and_tells_nothing(storage: Storage) -> None:
    async with storage.open() as journal:
        await journal.append(opened())
    for question in (journal.append(order()), kept(journal, CHANNEL), kept_all(journal, "seller")):
        with pytest.raises(JournalFailed, match="closed"):
            await question


async def test_what_waits_when_the_journal_is_closed_is_written(storage: Storage) -> None:
    async with trio.open_nursery() as nursery, storage.open() as journal:
        await journal.append(opened())
        nursery.start_soon(journal.append, order())
        await trio.testing.wait_all_tasks_blocked()
    async with storage.open() as journal:
        assert len((await kept(journal, CHANNEL)).orders) == 1


async def test_the_callers_error_leaves_the_journal_as_itself(storage: Storage) -> None:
    """Its nursery is its own business."""
    with pytest.raises(UserError, match="out of hay"):
        async with storage.open():
            raise UserError("out of hay")


# --- transactions ---------------------------------------------------------------------------

SENDER = named("sender", 20)


def attempt(intent: str = "lock-1", nonce: int = 7, **fields: object) -> Attempt:
    defaults: dict[str, object] = {
        "sender": SENDER,
        "hash": named(f"{intent} {nonce} {fields}"),
        "raw": b"\x02" + named(intent),
    }
    return Attempt(intent=intent, nonce=nonce, **(defaults | fields))  # type: ignore[arg-type]  # builder


async def test_attempts_come_back_after_a_restart(storage: Storage) -> None:
    """Threat 26: recorded before it is sent, reconciled by intent and nonce."""
    first, bumped = attempt(), attempt(raw=b"\x02bumped")
    second = attempt("claim-1", nonce=3)
    async with storage.open() as journal:
        log: TransactionLog = journal.transactions(31337, Attempt, Outcome)
        assert await log.attempts(SENDER, "lock-1") == []
        await log.record(first)
        await log.record(bumped)
        await log.record(second)
    async with storage.open() as journal:
        log = journal.transactions(31337, Attempt, Outcome)
        assert await log.attempts(SENDER, "lock-1") == [first, bumped]
        assert await log.pending(SENDER) == [second, first, bumped]
        assert await log.pending(named("other", 20)) == []
        await log.settle(SENDER, 7, Outcome.SUCCEEDED)
        assert await log.pending(SENDER) == [second]
        assert [a.intent for a in await log.settled(SENDER)] == ["lock-1", "lock-1"]
    async with storage.open() as journal:
        log = journal.transactions(31337, Attempt, Outcome)
        outcomes = [a.outcome for a in await log.attempts(SENDER, "lock-1")]
        assert outcomes == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]
        assert await log.pending(SENDER) == [second]
        other_chain = journal.transactions(1, Attempt, Outcome)
        assert await other_chain.pending(SENDER) == []
        assert await other_chain.settled(SENDER) == []


async def test_intent_and_nonce_determine_each_other(storage: Storage) -> None:
    async with storage.open() as journal:
        log = journal.transactions(31337, Attempt, Outcome)
        await log.record(attempt())
        with pytest.raises(ValueError, match="nonce 7"):
            await log.record(attempt(nonce=8))
        with pytest.raises(ValueError, match="lock-1"):
            await log.record(attempt("lock-2"))
        with pytest.raises(ValueError, match="kept already"):
            await log.record(attempt())
        with pytest.raises(ValueError, match="no attempt"):
            await log.settle(SENDER, 99, Outcome.REVERTED)
        await log.record(attempt("lock-2", nonce=8))
        await journal.transactions(1, Attempt, Outcome).record(attempt("x", hash=named("x")))


async def test_of_two_attempts_at_once_that_contradict_one_is_kept(storage: Storage) -> None:
    refused: list[str] = []

    async def record(log: TransactionLog, intent: str) -> None:
        try:
            await log.record(attempt(intent))
        except ValueError:
            refused.append(intent)

    async with storage.open() as journal:
        log = journal.transactions(31337, Attempt, Outcome)
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(record, log, f"lock-{number}")
        assert len(refused) == 7
        assert len(await log.pending(SENDER)) == 1
