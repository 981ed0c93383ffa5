"""A provider and a client who sign anything: each rule of the receipt log is found broken.

Signatures and the manifest are always right here, and the client's voucher covers the log as it
is; so nothing but the rule itself is left to find.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.auditor.market import DOMAIN, PROVIDER, Market, Seller, judge, put_records, write

from rowen.auditor.verdict import Verdict
from rowen.protocol.audit_findings import Kind
from rowen.protocol.evidence import ORDERS, RECEIPTS, VOUCHERS, encode_record
from rowen.protocol.messages import Signed
from rowen.protocol.receipt_log import root_of
from rowen.protocol.statements import Order, Receipt, Status, Voucher

Forge = Callable[[list[Receipt]], None]


class Forger:
    """One channel with two honest jobs: receipts 0–2 partial, 3 final; then 4–6 and 7."""

    def __init__(self, path: Path) -> None:
        self.market = Market()
        self.seller: Seller = self.market.open("ann", credit=40)
        for _ in range(2):
            self.seller.run(3, price_output=7_000_000)
        self.path = write(self.market, path)
        self.receipts = [
            Receipt.decode(kept.receipt.words)
            for kept in self.market.sellers[0].receipts[: self.seller.state.paid.count]
        ]
        self.orders = [Order.decode(kept.order.words) for kept in self.seller.orders]

    def sign_receipts(self, receipts: Sequence[Receipt]) -> Verdict:
        """The verdict on this log, with a voucher that covers all of it."""
        digests = [receipt.digest(DOMAIN) for receipt in receipts]
        signed = [
            encode_record(Signed(receipt.encode(), PROVIDER.sign(digest)))
            for receipt, digest in zip(receipts, digests, strict=True)
        ]
        put_records(self.path, RECEIPTS, signed)
        return self.sign_voucher(
            total=sum(receipt.amount for receipt in receipts),
            receipt_count=len(receipts),
            receipts_root=root_of(digests),
        )

    def sign_voucher(self, **changes: Any) -> Verdict:
        """The verdict with such a newest voucher."""
        kept = Voucher.decode(self.seller.vouchers[-1].voucher.words)
        voucher = replace(kept, **changes)
        signature = self.seller.session.sign(voucher.digest(DOMAIN))
        put_records(self.path, VOUCHERS, [encode_record(Signed(voucher.encode(), signature))])
        return judge(self.path)

    def sign_order(self, index: int, **changes: Any) -> Verdict:
        """The verdict with one order changed, and its receipts billed to it."""
        order = replace(self.orders[index], **changes)
        orders = [*self.orders]
        orders[index] = order
        put_records(
            self.path,
            ORDERS,
            [
                encode_record(Signed(o.encode(), self.seller.session.sign(o.digest(DOMAIN))))
                for o in orders
            ],
        )
        old, new = self.orders[index].digest(DOMAIN), order.digest(DOMAIN)
        return self.sign_receipts(
            [replace(r, order_hash=new) if r.order_hash == old else r for r in self.receipts]
        )


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path / "bundle")


def rechained(receipts: list[Receipt]) -> list[Receipt]:
    """With sequences and totals that follow from the amounts."""
    total, chained = 0, []
    for sequence, receipt in enumerate(receipts):
        total += receipt.amount
        chained.append(replace(receipt, sequence=sequence, total=total))
    return chained


def is_found(verdict: Verdict, field: str, sequence: int, kind: Kind = Kind.FAILED) -> bool:
    """Whether that receipt is named with that field."""
    return verdict.exit_code == 1 and any(
        (f.kind, f.file, f.field, f.sequence) == (kind, RECEIPTS, field, sequence)
        for f in verdict.findings
    )


def test_the_forgers_honest_log_is_verified(forger: Forger) -> None:
    """What the other tests change is right before they do."""
    assert len(forger.receipts) == 8
    assert [r.status for r in forger.receipts[3::4]] == [Status.FINAL, Status.FINAL]
    assert forger.sign_receipts(forger.receipts).exit_code == 0
    assert forger.sign_order(0).exit_code == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": 30}, "amount"),
        ({"amount": 0}, "amount"),
        ({"output_units": 10_000}, "output_units"),
        ({"output_units": 1}, "output_units"),
        ({"input_units": 6}, "input_units"),
        ({"cached_units": 8}, "cached_units"),
        ({"segment": 1}, "segment"),
        ({"segment": 3}, "segment"),
        ({"order_hash": bytes(32)}, "order_hash"),
        ({"finished_at_ms": 0}, "finished_at_ms"),
        ({"started_at_ms": 5}, "started_at_ms"),
    ],
)
def test_a_receipt_that_breaks_a_rule_is_named(
    forger: Forger, changes: dict[str, Any], field: str
) -> None:
    """The third of a job's receipts, changed in one field; sums made to fit."""
    receipts = [*forger.receipts]
    receipts[2] = replace(receipts[2], **changes)
    assert is_found(forger.sign_receipts(rechained(receipts)), field, 2)


def test_an_amount_one_too_high_is_found(forger: Forger) -> None:
    """Every amount is recomputed from units and price, to the last unit of money."""
    for sequence, receipt in enumerate(forger.receipts):
        receipts = [*forger.receipts]
        receipts[sequence] = replace(receipt, amount=receipt.amount + 1)
        assert is_found(forger.sign_receipts(rechained(receipts)), "amount", sequence)


def test_a_total_that_does_not_add_up_is_a_fraud_proof(forger: Forger) -> None:
    """Two receipts in sequence, both signed: the stake contract takes them as they are."""
    receipts = [*forger.receipts]
    receipts[5] = replace(receipts[5], total=receipts[5].total + 1)
    assert is_found(forger.sign_receipts(receipts), "total", 5, Kind.FRAUD)


def test_a_charge_on_a_failed_job_is_a_fraud_proof(forger: Forger) -> None:
    """Failed costs nothing."""
    receipts = [*forger.receipts]
    receipts[7] = replace(receipts[7], status=Status.FAILED, amount=9)
    assert is_found(forger.sign_receipts(rechained(receipts)), "amount", 7, Kind.FRAUD)


def test_two_receipts_for_one_sequence_are_a_fraud_proof(forger: Forger) -> None:
    """Threat 21: both are signed by the provider and differ."""
    twin = replace(forger.receipts[4], output_hash=bytes(32))
    for at in (5, 6, 8):
        receipts = [*forger.receipts]
        receipts.insert(at, twin)
        verdict = forger.sign_receipts(receipts)
        assert is_found(verdict, "digest", 4, Kind.FRAUD)
        assert verdict.findings[0].record == at


def test_a_receipt_after_the_last_is_found(forger: Forger) -> None:
    """A job ends once."""
    receipts = [*forger.receipts]
    receipts[2] = replace(receipts[2], status=Status.FINAL)
    assert is_found(forger.sign_receipts(receipts), "segment", 3)


def test_a_job_above_its_maximum_is_found(forger: Forger) -> None:
    """Threats 16 and 22: the client signed a most; it binds whatever the units are."""
    spent = sum(receipt.amount for receipt in forger.receipts[:4])
    assert forger.sign_order(0, amount_max=spent).exit_code == 0
    assert is_found(forger.sign_order(0, amount_max=spent - 1), "amount", 3)


@pytest.mark.parametrize("field", ["price_input", "price_cached", "price_output", "price_request"])
def test_another_price_is_found(forger: Forger, field: str) -> None:
    """Each price counts."""
    price = getattr(forger.orders[1], field)
    verdict = forger.sign_order(1, **{field: price * 5})
    assert verdict.exit_code == 1
    assert {f.field for f in verdict.findings} == {"amount"}


def test_a_job_id_used_twice_is_found(forger: Forger) -> None:
    """Threat 1: an order is worked once."""
    verdict = forger.sign_order(1, job_id=forger.orders[0].job_id)
    assert (verdict.exit_code, verdict.findings[0].field) == (1, "job_id")


def test_an_order_on_another_channel_is_found(forger: Forger) -> None:
    """Its client did not promise to pay for it here."""
    verdict = forger.sign_order(1, channel_id=bytes(32))
    assert {"channel_id", "order_hash"} <= {f.field for f in verdict.findings}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"total": 1}, "total"),
        ({"receipts_root": bytes(32)}, "receipts_root"),
        ({"receipt_count": 7}, "receipts_root"),
        ({"receipt_count": 9}, "receipt_count"),
    ],
)
def test_a_voucher_that_does_not_fit_the_log_is_found(
    forger: Forger, changes: dict[str, Any], field: str
) -> None:
    """Count, total and root hold together exactly."""
    verdict = forger.sign_voucher(**changes)
    assert verdict.exit_code == 1
    assert any((f.file, f.field) == (VOUCHERS, field) for f in verdict.findings)


def test_receipts_nobody_acknowledged_are_found(forger: Forger) -> None:
    """They could be put in or left out unnoticed, so they are no evidence."""
    seven = forger.receipts[:7]
    verdict = forger.sign_voucher(
        total=seven[-1].total,
        receipt_count=7,
        receipts_root=root_of([receipt.digest(DOMAIN) for receipt in seven]),
    )
    assert [(f.file, f.field) for f in verdict.findings] == [(RECEIPTS, "count")]
