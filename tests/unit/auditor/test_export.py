"""An export is deterministic, whole or absent, and holds nothing but evidence."""

import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.auditor.market import (
    DOMAIN,
    PROVIDER,
    Market,
    judge,
    records,
    small_market,
    write,
)

from rowen.auditor.export import export
from rowen.auditor.receipt_proof import receipt_proof
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import UserError
from rowen.protocol.evidence import (
    CHANNELS,
    MANIFEST,
    ORDERS,
    RECEIPTS,
    ChannelRecord,
    decode_manifest,
)
from rowen.protocol.messages import Signed
from rowen.protocol.receipt_log import verify_inclusion
from rowen.protocol.seller_events import EngineSaid
from rowen.protocol.signing import recover
from rowen.protocol.statements import Receipt, Voucher
from rowen.store.base import OrderKept, ReceiptKept


def contents(path: Path) -> dict[str, bytes]:
    """Every file by name."""
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_the_same_range_twice_is_the_same_bytes(tmp_path: Path) -> None:
    """Two folders, two journals, one story."""
    first = write(small_market(), tmp_path / "first")
    second = write(small_market(), tmp_path / "second")
    assert contents(first) == contents(second)


def test_the_order_in_which_channels_were_opened_does_not_show(tmp_path: Path) -> None:
    """Channels stand by id."""
    market = small_market()
    first = write(market, tmp_path / "first")
    market.sellers.reverse()
    assert contents(write(market, tmp_path / "second")) == contents(first)


def test_exporting_into_the_same_bundle_changes_nothing(tmp_path: Path) -> None:
    """A second run is harmless."""
    path = write(small_market(), tmp_path / "bundle")
    before = contents(path)
    write(small_market(), path)
    assert contents(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_a_different_bundle_is_never_replaced(tmp_path: Path) -> None:
    """Nor is anything else that has the name."""
    market = small_market()
    path = write(market, tmp_path / "bundle")
    before = contents(path)
    market.sellers[0].run(1)
    with pytest.raises(UserError, match="exists and is not this bundle"):
        write(market, path)
    assert contents(path) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="exists and is not this bundle"):
        write(market, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_export_to_nowhere_says_so(tmp_path: Path) -> None:
    """The parent folder must exist."""
    with pytest.raises(UserError, match="cannot write in"):
        write(small_market(), tmp_path / "no" / "bundle")


async def test_a_cancelled_export_leaves_nothing(tmp_path: Path) -> None:
    """At whichever record it was."""

    class Cut(Market):
        """Its nth record is where the export is cancelled."""

        left = 0
        scope = trio.CancelScope()

        async def receipts_of(self, channel_id: bytes) -> AsyncIterator[ReceiptKept]:
            for kept in self._seller(channel_id).receipts:
                self.left -= 1
                if self.left < 0:
                    self.scope.cancel()
                    await trio.lowlevel.checkpoint()
                yield kept

    for left in range(17):
        market = Cut()
        market.sellers = small_market().sellers
        market.left = left
        with trio.CancelScope() as market.scope:
            await export(market, DOMAIN, PROVIDER.address, tmp_path / "bundle", None)
        assert market.scope.cancelled_caught
        assert contents(tmp_path) == {}


@pytest.mark.parametrize("room", [0, 1, 500, 5_000])
def test_a_disk_that_fills_up_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """The kernel takes so many bytes of each file, then no more; also in the middle of a record."""
    monkeypatch.setattr("rowen.auditor.draft._BUFFER_BYTES", 1)
    market = small_market()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(UserError, match="bundle: File too large"):
            write(market, tmp_path / "bundle")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == {}


def test_a_name_that_is_none_is_told(tmp_path: Path) -> None:
    for name in ("nul\0", "long" * 100):
        with pytest.raises(UserError):
            write(small_market(), tmp_path / name)
    assert contents(tmp_path) == {}


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder appears with everything on disk, or not."""

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write(small_market(), tmp_path / "bundle")
    assert contents(tmp_path) == {}


def test_no_prompt_and_no_answer_is_in_a_bundle(tmp_path: Path) -> None:
    """Hashes only."""
    path = write(small_market(), tmp_path / "bundle")
    assert not any(b"never in a bundle" in raw for raw in contents(path).values())


def test_receipts_no_voucher_covers_stay_out(tmp_path: Path) -> None:
    """And so do the orders that only they bill; the next bundle has them."""
    market = Market()
    ann = market.open("ann", credit=1_000)
    ann.run(2)
    job = ann.order().job_id
    ann.happens(EngineSaid(job, "word", 300))
    assert len(ann.receipts) > ann.state.paid.count
    path = write(market, tmp_path / "bundle")
    assert len(records(path, RECEIPTS)) == ann.state.paid.count
    assert len(records(path, ORDERS)) == 1
    assert judge(path).exit_code == 0


def test_a_channel_of_another_deployment_stays_out(tmp_path: Path) -> None:
    """One journal may serve several escrows."""
    market, other = small_market(), Market(Domain(1, DOMAIN.escrow))
    other.open("ann").run(1)
    alone = contents(write(market, tmp_path / "alone"))
    snapshot = market.snapshot()
    market.sellers += other.sellers
    assert contents(write(market, tmp_path / "both", snapshot=snapshot)) == alone


def test_a_channel_younger_than_the_snapshot_stays_out(tmp_path: Path) -> None:
    """It belongs to the next bundle."""
    market = small_market()
    snapshot = market.snapshot()
    market.open("cat").run(1)
    path = write(market, tmp_path / "bundle", snapshot=snapshot)
    verdict = judge(path)
    assert (verdict.exit_code, verdict.figures.channels) == (0, 2)


def test_a_channel_that_was_only_funded_stays_out(tmp_path: Path) -> None:
    """No work, no evidence."""
    market = small_market()
    market.open("cat")
    assert judge(write(market, tmp_path / "bundle")).figures.channels == 2


def test_a_claim_the_journal_does_not_know_is_refused(tmp_path: Path) -> None:
    """Such a bundle would fail; the person has the wrong journal."""
    market = small_market()
    snapshot = market.snapshot()
    market.sellers.pop()
    with pytest.raises(UserError, match="of which this journal knows nothing"):
        write(market, tmp_path / "bundle", snapshot=snapshot)


def test_a_journal_that_contradicts_itself_is_not_exported(tmp_path: Path) -> None:
    """A missing receipt, a missing order."""
    market = small_market()
    last = market.sellers[0].receipts.pop()
    with pytest.raises(ValueError, match="its voucher covers"):
        write(market, tmp_path / "bundle")
    market.sellers[0].receipts.append(last)
    market.sellers[0].orders.pop(0)
    with pytest.raises(ValueError, match="no order"):
        write(market, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_every_receipt_has_an_inclusion_proof(tmp_path: Path) -> None:
    """Against the root that the client signed; RFC 9162, 2.1.3."""
    market = small_market()
    path = write(market, tmp_path / "bundle")
    for seller in market.sellers:
        for sequence in range(seller.state.paid.count):
            proof = receipt_proof(path, seller.id, sequence)
            assert verify_inclusion(proof.entry, proof.index, proof.count, proof.path, proof.root)
            voucher = Voucher.decode(proof.voucher.words)
            assert (voucher.receipts_root, voucher.receipt_count) == (proof.root, proof.count)
            assert Receipt.decode(proof.receipt.words).digest(DOMAIN) == proof.entry
            assert recover(proof.entry, proof.receipt.signature) == PROVIDER.address
    told = json.loads(proof.to_json())
    assert (told["index"], told["root"]) == (sequence, f"0x{proof.root.hex()}")


def test_a_proof_that_cannot_be_given_says_why(tmp_path: Path) -> None:
    """No such receipt, no such channel, no bundle."""
    market = small_market()
    path = write(market, tmp_path / "bundle")
    channel_id = market.sellers[0].id
    with pytest.raises(UserError, match="no receipt 99"):
        receipt_proof(path, channel_id, 99)
    with pytest.raises(UserError, match="no receipt -1"):
        receipt_proof(path, channel_id, -1)
    with pytest.raises(UserError, match="no voucher"):
        receipt_proof(path, bytes(32), 0)
    with pytest.raises(UserError, match="no proof"):
        receipt_proof(tmp_path, channel_id, 0)


STORIES = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cat"]),
        st.integers(0, 8),
        st.sampled_from(["final", "failed", "cancelled", "preempted"]),
        st.integers(0, 10**7),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(STORIES)
def test_whatever_an_honest_provider_does_is_verified(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int, str, int, bool]]
) -> None:
    """Any interleaving of jobs, endings, prices and claims."""
    market = Market()
    by_name = {}
    for name, words, ending, price, is_claimed in story:
        if name not in by_name:
            by_name[name] = market.open(name, locked=10**9)
        by_name[name].run(words, ending=ending, price_output=price, amount_max=10**6)
        if is_claimed:
            market.claim(by_name[name])
    verdict = judge(write(market, tmp_path_factory.mktemp("story") / "bundle"))
    assert verdict.findings == ()
    assert verdict.figures.channels == len(by_name)


def test_a_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    """For people and for sha256sum alike."""
    path = write(small_market(), tmp_path / "bundle")
    raw = (path / MANIFEST).read_bytes()
    manifest = decode_manifest(raw)
    assert raw.endswith(b"}\n")
    assert json.loads(raw)["format"] == "rowen-evidence/1"
    assert list(json.loads(raw)) == sorted(json.loads(raw))
    assert manifest.files[RECEIPTS].records == len(records(path, RECEIPTS))


def test_an_order_kept_for_a_job_that_was_refused_stays_out(tmp_path: Path) -> None:
    """It was never billed."""
    market = small_market()
    kept: OrderKept = market.sellers[0].orders[0]
    before = contents(write(market, tmp_path / "before"))
    market.sellers[0].order(job_id=bytes(32))
    assert kept in market.sellers[0].orders
    assert contents(write(market, tmp_path / "after")) == before


def test_a_bundle_about_one_channel_proves_its_log_and_leaves_the_whole_open(
    tmp_path: Path,
) -> None:
    """What it holds is what the whole bundle holds of that channel."""
    market = small_market()
    whole = write(market, tmp_path / "whole")
    raw = records(whole, CHANNELS)
    assert len(raw) > 1
    path = tmp_path / "one"
    chosen = msgspec.msgpack.decode(raw[0], type=ChannelRecord)
    trio.run(export, market, market.domain, PROVIDER.address, path, None, [chosen.id])
    assert records(path, CHANNELS) == raw[:1]
    mine = [
        record
        for record in records(whole, RECEIPTS)
        if Receipt.decode(msgspec.msgpack.decode(record, type=Signed).words).channel_id == chosen.id
    ]
    assert records(path, RECEIPTS) == mine
    verdict = judge(path)
    assert (verdict.exit_code, verdict.figures.channels) == (3, 1)
    assert verdict.figures.receipts == len(mine) > 0


def test_a_channel_without_a_voucher_cannot_be_exported_alone(tmp_path: Path) -> None:
    market = small_market()
    with pytest.raises(UserError, match="no voucher on channel 0x6363"):
        trio.run(
            export, market, market.domain, PROVIDER.address, tmp_path / "one", None, [b"c" * 32]
        )
    assert list(tmp_path.iterdir()) == []
