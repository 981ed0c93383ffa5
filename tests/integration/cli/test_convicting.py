"""``rowen audit report``: really signed evidence, from journal and bundle to a slash on a chain."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.cli.inside import Inside

from rowen.chain.devnet import devnet_key
from rowen.chain.keystore import load_key, sealing_key
from rowen.chain.stake import RpcStakeWallet
from rowen.chain.staking import SlashResult
from rowen.home import Home
from rowen.protocol.eip712 import Domain
from rowen.protocol.evidence import (
    CHANNELS,
    CHECKSUM,
    MANIFEST,
    RECEIPTS,
    ChannelRecord,
    FileEntry,
    FileName,
    Manifest,
    encode_checksum,
    encode_manifest,
    encode_record,
)
from rowen.protocol.fraud import Proof
from rowen.protocol.ids import format_address, parse_address
from rowen.protocol.messages import Signed, seal
from rowen.protocol.signing import Key
from rowen.protocol.statements import Order, Receipt, Status, Voucher
from rowen.store.base import ChannelOpened, DisputeKept, OrderKept, ReceiptKept, VoucherKept
from rowen.store.journal import open_journal

PROVIDER = devnet_key(77)
JOB = b"j" * 32


class Case:
    """A client with a channel, and a bonded provider that signs what it likes."""

    def __init__(self, inside: Inside, provider: Key = PROVIDER, *, bond: str = "25") -> None:
        self.inside = inside
        self.home = inside.home("client", funded="wallet")
        self.provider = provider
        escrow = parse_address(inside.devnet["escrow"])
        self.domain = Domain(inside.devnet["chain_id"], escrow)
        wallet, session = (inside.address(self.home, key) for key in ("wallet", "session"))
        self.channel = ChannelRecord(
            parse_address(wallet), provider.address, parse_address(session)
        )
        if bond:
            line = ["stake", "bond", bond, "--provider", format_address(provider.address)]
            assert inside(self.home, *line).code == 0

    def receipt(self, sequence: int, key: Key | None = None, **changes: Any) -> Signed:
        fields: dict[str, Any] = {
            "channel_id": self.channel.id,
            "sequence": sequence,
            "order_hash": b"o" * 32,
            "segment": sequence,
            "status": Status.PARTIAL,
            "input_units": 10,
            "cached_units": 0,
            "output_units": 20,
            "amount": 100,
            "total": 100 * (sequence + 1),
            "output_hash": b"h" * 32,
            "started_at_ms": 1_000,
            "finished_at_ms": 2_000,
        }
        return seal(Receipt(**{**fields, **changes}), self.domain, key or self.provider)

    def offences(self) -> list[list[Signed]]:
        """One log for each offence, the crime in its last receipt."""
        log = [self.receipt(0), self.receipt(1)]
        return [
            [*log, self.receipt(1, amount=101, total=201)],
            [*log, self.receipt(2, total=301)],
            [*log, self.receipt(2, status=Status.FAILED)],
        ]

    def bundle(self, folder: Path, receipts: Sequence[Signed]) -> Path:
        """A bundle as a provider or its client might hand it on; only what a report reads."""
        folder.mkdir()
        contents: dict[FileName, list[bytes]] = {
            CHANNELS: [encode_record(self.channel)],
            RECEIPTS: [encode_record(each) for each in receipts],
        }
        files: dict[FileName, FileEntry] = {}
        for name, records in contents.items():
            raw = b"".join(records)
            (folder / name).write_bytes(raw)
            files[name] = FileEntry(sha256(raw).hexdigest(), len(raw), len(records))
        manifest = encode_manifest(
            Manifest(
                chain_id=self.domain.chain_id,
                escrow=f"0x{self.domain.escrow.hex()}",
                provider=f"0x{self.provider.address.hex()}",
                files=files,
            )
        )
        (folder / MANIFEST).write_bytes(manifest)
        (folder / CHECKSUM).write_bytes(encode_checksum(manifest))
        return folder

    def keep(self, paid: Sequence[Signed], disputed: Signed) -> None:
        """Writes the client's journal as the client writes it: a paid log, then a dispute."""
        trio.run(partial(self._keep, self.home, paid, disputed))

    async def _keep(self, home: Home, paid: Sequence[Signed], disputed: Signed) -> None:
        session = await load_key(home.session_key, home.read_password())
        channel_id = self.channel.id
        order = Order(
            channel_id=channel_id, job_id=JOB, variant=b"v" * 32, input_hash=b"i" * 32,
            price_input=1, price_cached=1, price_output=1, price_request=1,
            output_units_max=100, amount_max=10_000, deadline_ms=2**40,
        )  # fmt: skip
        total = Receipt.decode(paid[-1].words).total
        voucher = Voucher(
            payer=self.channel.payer, provider=self.channel.provider, total=total,
            receipt_count=len(paid), receipts_root=b"r" * 32,
        )  # fmt: skip
        async with open_journal(home.buyer_journal, sealing_key(session)) as journal:
            await journal.append(
                ChannelOpened(
                    channel_id=channel_id, role="buyer", chain_id=self.domain.chain_id,
                    escrow=self.domain.escrow, payer=self.channel.payer,
                    provider=self.channel.provider, signer=self.channel.signer,
                ),
                OrderKept(
                    channel_id=channel_id, job_id=JOB, order=seal(order, self.domain, session),
                    salt=b"s" * 32, input=b"input", started_at_ms=1,
                ),
            )  # fmt: skip
            for sequence, signed in enumerate(paid):
                await journal.append(
                    ReceiptKept(
                        channel_id=channel_id, sequence=sequence, job_id=JOB, receipt=signed,
                        text="x",
                    )
                )  # fmt: skip
            await journal.append(
                VoucherKept(
                    channel_id=channel_id, receipt_count=len(paid), total=total,
                    voucher=seal(voucher, self.domain, session),
                ),
                DisputeKept(
                    channel_id=channel_id,
                    sequence=Receipt.decode(disputed.words).sequence,
                    receipt=disputed,
                ),
            )  # fmt: skip

    def report(self, *arguments: object) -> dict[str, Any]:
        return self.inside(self.home, "audit", "report", *arguments, "--json").document(
            "audit-report"
        )

    def bonded(self) -> int:
        line = ["stake", "status", format_address(self.provider.address), "--json"]
        return int(self.inside(self.home, *line).document("stake-status")["bonded"])


@pytest.mark.parametrize("number", [0, 1, 2], ids=["equivocation", "broken total", "charge"])
@pytest.mark.parametrize("source", ["journal", "bundle"])
def test_each_offence_is_found_shown_and_slashed(
    inside: Inside, tmp_path: Path, number: int, source: str
) -> None:
    """Threat 21: from a client's disputed receipt, or a bundle, to a slash."""
    case = Case(inside, devnet_key(200 + number + 10 * (source == "bundle")))
    log = case.offences()[number]
    where: list[object] = []
    if source == "journal":
        case.keep(log[:2], log[2])
    else:
        where = [case.bundle(tmp_path / "bundle", log)]
    dry = case.report(*where)
    (offence,) = dry["offences"]
    assert (offence["status"], offence["transaction"]) == ("would_be_slashed", None)
    assert (offence["burned"], offence["reward"]) == ("7500000", "2500000")
    assert (dry["is_submitted"], dry["receipts"]) == (False, 3)
    assert case.bonded() == 25_000_000, "nothing is sent unasked"
    said = inside(case.home, "audit", "report", *where).out
    assert "Nothing was sent. Reporting this burns $7.50 and gives $2.50" in said

    done = case.report(*where, "--submit")
    (slashed,) = done["offences"]
    assert (slashed["status"], slashed["offence"]) == ("slashed", offence["offence"])
    assert (slashed["burned"], slashed["reward"]) == ("7500000", "2500000")
    assert case.bonded() == 15_000_000
    (again,) = case.report(*where, "--submit")["offences"]
    assert (again["status"], again["transaction"]) == ("punished", None)
    assert case.bonded() == 15_000_000


def test_what_was_sent_is_told_when_the_gas_does_not_reach_for_all(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first penalty is paid and its reward earned, whatever becomes of the second."""
    case = Case(inside, devnet_key(225))
    log = [case.receipt(0), case.receipt(1), case.receipt(1, amount=101, total=201)]
    bundle = case.bundle(tmp_path / "bundle", [*log, case.receipt(2, status=Status.FAILED)])
    slash, wallet = RpcStakeWallet.slash, inside.address(case.home, "wallet")

    async def and_be_broke(self: RpcStakeWallet, proof: Proof, *, intent: str) -> SlashResult:
        done = await slash(self, proof, intent=intent)
        await self._stake.escrow.endpoints[0].call("anvil_setBalance", wallet, "0x0")
        return done

    with monkeypatch.context() as patched:
        patched.setattr(RpcStakeWallet, "slash", and_be_broke)
        done = inside(case.home, "audit", "report", bundle, "--submit", "--json")
    assert done.code == 2
    first, second = done.document("audit-report")["offences"]
    assert (first["status"], second["status"]) == ("slashed", "unfinished")
    assert first["transaction"] is not None
    assert "send it some; then run the same command again" in second["detail"]

    assert inside(case.home, "devnet", "fund", wallet).code == 0
    again = case.report(bundle, "--submit")["offences"]
    assert [offence["status"] for offence in again] == ["punished", "slashed"]


def test_several_bundles_and_the_own_journal_prove_together_what_none_proves_alone(
    inside: Inside, tmp_path: Path
) -> None:
    """A provider that shows two auditors two logs, each of them in order."""
    case = Case(inside, devnet_key(230), bond="")
    one = case.bundle(tmp_path / "one", [case.receipt(0), case.receipt(1)])
    other = case.bundle(
        tmp_path / "other", [case.receipt(0), case.receipt(1, amount=50, total=150)]
    )
    case.keep([case.receipt(0)], case.receipt(1, amount=70, total=170))
    assert case.report(one)["offences"] == []
    assert case.report(other)["offences"] == []
    (offence,) = case.report(one, other)["offences"]
    assert (offence["offence"], offence["sequence"]) == ("equivocation", 1)
    assert (offence["status"], offence["burned"]) == ("nothing_bonded", "0")
    assert len(case.report(one, "--journal")["offences"]) == 1
    submitted = case.report(one, other, "--submit")
    assert submitted["offences"][0]["transaction"] is None, "there is nothing to take"


def test_what_could_not_be_read_is_named_and_the_rest_still_proves(
    inside: Inside, tmp_path: Path
) -> None:
    """A bundle that was cut off must not pass for one that proves nothing more."""
    case = Case(inside, devnet_key(235))
    log = case.offences()[0]
    whole = case.bundle(tmp_path / "the whole one", log)
    assert case.report(whole)["unread"] == []
    cut = case.bundle(tmp_path / "the cut one", [*log, case.receipt(2, total=9)])
    receipts = cut / RECEIPTS
    receipts.write_bytes(receipts.read_bytes()[:-9])
    report = case.report(cut)
    (unread,) = report["unread"]
    assert unread.startswith(f"{receipts}: record 3: record is cut off after ")
    assert [each["offence"] for each in report["offences"]] == ["equivocation"]
    said = inside(case.home, "audit", "report", cut, "--journal").out
    assert "Not read to its end, so there may be more:" in said
    assert f"rowen audit report '{cut}' --journal --submit" in said
    (cut / CHANNELS).unlink()
    (first, _) = case.report(cut)["unread"]
    assert first.startswith(f"{cut / CHANNELS}: ")
    assert case.bonded() == 25_000_000


def test_what_is_not_proved_is_neither_shown_nor_sent(inside: Inside, tmp_path: Path) -> None:
    """A stranger's signature, another deployment, a bad price, a log that adds up."""
    case = Case(inside, devnet_key(240))
    stranger = devnet_key(241)
    other = Domain(case.domain.chain_id + 1, case.domain.escrow)
    right = Receipt.decode(case.receipt(1).words)
    receipts = [
        case.receipt(0),
        case.receipt(1),
        case.receipt(1, stranger, amount=101, total=201),
        seal(Receipt(**{**_fields(right), "amount": 7}), other, case.provider),
        case.receipt(1, channel_id=b"c" * 32, amount=3),
        Signed(b"\xff" * 512, b"\x01" * 64),
        case.receipt(2, output_units=9_999_999),
        case.receipt(3, status=Status.FAILED, amount=0, total=300),
    ]
    report = case.report(case.bundle(tmp_path / "bundle", receipts), "--submit")
    assert (report["offences"], report["receipts"]) == ([], len(receipts))
    assert case.bonded() == 25_000_000
    said = inside(case.home, "audit", "report", tmp_path / "bundle").out
    assert said == "Nothing is proved against anybody by 8 receipts of 1 channel.\n"


def _fields(receipt: Receipt) -> dict[str, Any]:
    return {name: getattr(receipt, name) for name in receipt.__struct_fields__}


def test_a_folder_that_is_no_bundle_or_anothers_is_refused(inside: Inside, tmp_path: Path) -> None:
    case = Case(inside, devnet_key(250), bond="")
    assert "is no evidence bundle" in inside.refused(case.home, "audit", "report", tmp_path)
    case.domain = Domain(1, case.domain.escrow)
    elsewhere = case.bundle(tmp_path / "elsewhere", [case.receipt(0)])
    message = inside.refused(case.home, "audit", "report", elsewhere)
    assert "on chain 1" in message
