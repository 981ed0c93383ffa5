"""What an account keeps, and from when on it can keep nothing."""

from __future__ import annotations

import pytest
from tests.integration.store.entries import opened
from tests.unit.protocol.build import CHANNEL, DOMAIN, OPERATOR, PAYER, SESSION

from rowen.protocol.channel import Head
from rowen.protocol.messages import Signed, seal
from rowen.protocol.statements import Voucher
from rowen.store.base import JournalFailed, LogSettled
from rowen.store.keeping import RECEIPTS_PER_SETTLED, Keeper
from rowen.testing.store import FakeDisk, open_fake_journal


def paid(log: Head) -> Signed:
    return seal(
        Voucher(
            payer=PAYER,
            provider=OPERATOR.address,
            total=log.total,
            receipt_count=log.count,
            receipts_root=log.frontier.root(),
        ),
        DOMAIN,
        SESSION,
    )


def log_of(count: int) -> Head:
    log = Head()
    for number in range(count):
        log = log.append(number.to_bytes(32, "big"), 3)
    return log


async def test_a_log_is_settled_once_in_so_many_receipts() -> None:
    async with open_fake_journal(FakeDisk()) as journal:
        keeper = Keeper(journal, CHANNEL)
        settled = []
        log = Head()
        for number in range(3 * RECEIPTS_PER_SETTLED):
            log = log.append(number.to_bytes(32, "big"), 3)
            settled += keeper.settled(log, paid(log))
        counts = [entry.receipt_count for entry in settled if isinstance(entry, LogSettled)]
        assert counts == [RECEIPTS_PER_SETTLED * n for n in (1, 2, 3)]


async def test_a_settled_log_goes_on_where_it_stood() -> None:
    """Its tree, its total and its voucher are those of the whole log."""
    log = log_of(RECEIPTS_PER_SETTLED + 5)
    async with open_fake_journal(FakeDisk()) as journal:
        (entry,) = Keeper(journal, CHANNEL).settled(log, paid(log))
    assert isinstance(entry, LogSettled)
    assert entry.log() == log
    assert entry.voucher == paid(log)


async def test_a_log_that_the_client_did_not_sign_is_no_beginning() -> None:
    """A journal that contradicts itself must not be gone on with."""
    log, other = log_of(RECEIPTS_PER_SETTLED), log_of(RECEIPTS_PER_SETTLED + 1)
    async with open_fake_journal(FakeDisk()) as journal:
        (entry,) = Keeper(journal, CHANNEL).settled(log, paid(other))
    assert isinstance(entry, LogSettled)
    with pytest.raises(ValueError, match="is not the paid one"):
        entry.log()


async def test_nothing_is_kept_after_a_failure() -> None:
    """P11: what memory believes and what the disk holds may differ from then on."""
    async with open_fake_journal(FakeDisk(fails_at=0)) as journal:
        keeper = Keeper(journal, CHANNEL)
        keeper.check()
        with pytest.raises(JournalFailed):
            await keeper.keep(opened(CHANNEL))
        with pytest.raises(JournalFailed, match="no space left"):
            keeper.check()
