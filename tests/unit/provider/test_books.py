"""Many channels behind one node, and what they cost it."""

from __future__ import annotations

import pytest
from tests.unit.protocol.build import DOMAIN, OPERATOR, PAYER

from rowen.protocol.ids import channel_id_of
from rowen.provider.account import Account
from rowen.provider.books import Books
from rowen.provider.settings import ProviderSettings
from rowen.provider.tally import Tally
from rowen.store.base import ChannelOpened
from rowen.testing.chain import FakeEscrow
from rowen.testing.fake_chain import FakeChain
from rowen.testing.store import FakeDisk, open_fake_journal

DUST = 2_000


def opened(number: int) -> ChannelOpened:
    signer = number.to_bytes(20, "big")
    return ChannelOpened(
        channel_id=channel_id_of(PAYER, OPERATOR.address, signer),
        role="seller",
        chain_id=DOMAIN.chain_id,
        escrow=DOMAIN.escrow,
        payer=PAYER,
        provider=OPERATOR.address,
        signer=signer,
    )


async def test_a_new_job_does_not_look_at_every_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat 13: a channel without jobs or debts adds nothing to what an order waits for."""
    looks: list[Account] = []
    risk = Account.risk

    def counted(self: Account, *, since_ms: int) -> int:
        looks.append(self)
        return risk(self, since_ms=since_ms)

    monkeypatch.setattr(Account, "risk", counted)
    openings = [opened(number) for number in range(DUST)]
    async with open_fake_journal(FakeDisk()) as journal:
        await journal.append(*openings)
        books = Books(
            key=OPERATOR,
            domain=DOMAIN,
            escrow=FakeEscrow(FakeChain()),
            journal=journal,
            settings=ProviderSettings(),
            now_ms=lambda: 1_790_000_000_000,
            tally=Tally(),
        )
        await books.recover()
        assert len(books.accounts) == DUST
        for one in openings[:3]:
            books.check_total(one.channel_id)
    assert len(looks) <= 3
