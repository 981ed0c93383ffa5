"""An export from the journal on disk is the one that its entries make."""

from pathlib import Path

from tests.unit.auditor.market import (
    DOMAIN,
    PROVIDER,
    FakeEvidence,
    Market,
    judge,
    small_market,
)

from rowen.auditor.export import export
from rowen.store.base import ChannelOpened, Entry, Journal
from rowen.store.journal import open_journal
from rowen.testing.store import FakeDisk, open_fake_journal


def entries(market: Market) -> list[Entry]:
    """What the provider appended, in an order its journal takes."""
    kept: list[Entry] = []
    for seller in market.sellers:
        kept.append(
            ChannelOpened(
                channel_id=seller.id,
                role="seller",
                chain_id=DOMAIN.chain_id,
                escrow=DOMAIN.escrow,
                payer=seller.payer.address,
                provider=PROVIDER.address,
                signer=seller.session.address,
            )
        )
        kept += [*seller.orders, *seller.receipts, *seller.vouchers]
    return kept


async def write_from(journal: Journal, market: Market, path: Path) -> Path:
    """Exports from a journal that holds the market's story."""
    for entry in entries(market):
        await journal.append(entry)
    await export(journal, DOMAIN, PROVIDER.address, path, FakeEvidence(market.snapshot()))
    return path


async def test_both_journals_give_the_bytes_of_their_entries(tmp_path: Path) -> None:
    """SQLite and memory, and the same as without either."""
    market = small_market()
    chain = FakeEvidence(market.snapshot())
    await export(market, DOMAIN, PROVIDER.address, tmp_path / "none", chain)
    async with open_journal(tmp_path / "journal.sqlite", bytes(32)) as journal:
        await write_from(journal, market, tmp_path / "sqlite")
    async with open_fake_journal(FakeDisk()) as journal:
        await write_from(journal, market, tmp_path / "memory")
    expected = judge(tmp_path / "none")
    assert expected.exit_code == 0
    for name in ("sqlite", "memory"):
        assert judge(tmp_path / name) == expected
        for file in sorted((tmp_path / "none").iterdir()):
            assert file.read_bytes() == (tmp_path / name / file.name).read_bytes()
