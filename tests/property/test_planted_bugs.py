"""The market can fail: each of these bugs, planted in the core, is caught by its invariants."""

from types import ModuleType

import pytest
from tests.property import market
from tests.property.planting import planted

from rowen.protocol import (
    admission,
    buyer,
    buyer_channel,
    buyer_checks,
    metering,
    receipt_log,
    seller,
    seller_billing,
    seller_channel,
)

SEEDS = 600

BUGS: dict[str, tuple[ModuleType, str, str]] = {
    # --- the buyer
    "pays units it did not receive": (
        buyer_checks,
        "if receipt.output_units != job.output_units:",
        "if receipt.output_units > job.output_units + 1:",
    ),
    "does not check the answer's hash": (
        buyer_checks,
        "if receipt.output_hash != job.hasher.digest():",
        "if False:",
    ),
    "believes the amount": (buyer_checks, "if receipt.amount != expected:", "if False:"),
    "believes the total": (
        buyer_checks,
        "if receipt.total != state.log.total + receipt.amount:",
        "if False:",
    ),
    "believes the sequence": (buyer_checks, "if receipt.sequence != state.log.count:", "if False:"),
    "pays a failed job": (
        buyer_checks,
        "expected = 0\n    if receipt.status is not Status.FAILED:",
        "expected = 0\n    if True:",
    ),
    "pays below its promise": (buyer, "total=log.total,", "total=log.total - (log.total > 9),"),
    "does not count promises": (
        buyer_channel,
        "return self.locked - self.log.total - caps",
        "return self.locked - self.log.total",
    ),
    "takes a chunk twice": (
        buyer,
        "text = raw[job.output_bytes - event.at :].decode()",
        "text = raw.decode()",
    ),
    "forgets a job when the stream ends": (
        buyer,
        "return with_job(state, replace(job, state=JobState.SUSPENDED)), []",
        "return without_job(state, job), []",
    ),
    "judges what a crashed provider forgot": (
        buyer_checks,
        "if receipt.status is Status.FAILED:\n        # It is free",
        "if False:\n        # It is free",
    ),
    "leaves jobs open after a dispute": (
        buyer,
        "stopped = replace(state, stopped=why, jobs={})",
        "stopped = replace(state, stopped=why)",
    ),
    "pays under another's signature": (
        buyer,
        "    if event.signer != state.provider:\n        raise PeerError(\n",
        "    if False:\n        raise PeerError(\n",
    ),
    # --- the seller
    "does not stop at the credit line": (
        seller,
        "if after.exposure() > state.credit and state.exposure() > 0:\n        held",
        "if after.exposure() > 3 * state.credit and state.exposure() > 0:\n        held",
    ),
    "counts only billed work": (
        seller_channel,
        "return self.issued.total - self.paid.total + open_work",
        "return self.issued.total - self.paid.total",
    ),
    "releases everything at any voucher": (
        seller,
        "if after.exposure() > state.credit and state.exposure() > 0:\n            continue",
        "if False:\n            continue",
    ),
    "waits without a bill": (
        seller,
        "return state, [Pause(event.job), *bills]",
        "return state, [Pause(event.job), *bills[1:]]",
    ),
    "waits for others to speak": (seller, "if not state.unpaid and any(", "if False and any("),
    "never lets a paused job go on": (seller, "Resume(job_id)]\n", "]\n"),
    "bills what it held back": (
        seller,
        "with_job(state, paused), meter)",
        "with_job(state, after.jobs[event.job]), meter)",
    ),
    "charges a failed job": (
        seller_billing,
        "owed = 0 if status is Status.FAILED else cost(job.order, job.reading) - job.billed",
        "owed = cost(job.order, job.reading) - job.billed",
    ),
    "bills the same work twice": (
        seller_billing,
        "cost(job.order, job.reading) - job.billed\n    amount",
        "cost(job.order, job.reading)\n    amount",
    ),
    "bills a falling reading": (seller_billing, "amount = max(0, owed)", "amount = owed"),
    "takes a voucher above the sum": (
        seller,
        "if voucher.total != head.total:",
        "if voucher.total < head.total:",
    ),
    "takes a voucher below the sum": (
        seller,
        "if voucher.total != head.total:",
        "if voucher.total > head.total:",
    ),
    "takes a voucher for another log": (
        seller,
        "if voucher.receipts_root != head.frontier.root():",
        "if False:",
    ),
    "takes another client's voucher": (
        seller,
        "        event.signer == state.signer\n",
        "        True or event.signer == state.signer\n",
    ),
    "forgets the receipts a voucher does not cover": (
        seller,
        "unpaid=state.unpaid[covered:]",
        "unpaid=()",
    ),
    "keeps no voucher": (seller, "[KeepVoucher(voucher)", "[Settled(b'')"),
    "delivers past the limit": (seller, "if units > job.output_units_max:", "if False:"),
    "restores a job without its units": (
        seller,
        "state, replace(job, reading=reading), receipt,",
        "state, job, receipt,",
    ),
    # --- what both share
    "rounds down": (metering, "-(-units_price // PRICE_UNITS)", "units_price // PRICE_UNITS"),
    "gives the request for free": (metering, "return order.price_request + -", "return -"),
    "charges cached input in full": (
        metering,
        "reading.cached_units * order.price_cached",
        "reading.cached_units * order.price_input",
    ),
    "affords one unit too many": (
        metering,
        "spare // order.price_output)",
        "spare // order.price_output + 1)",
    ),
    "swaps a tree's sides": (
        receipt_log,
        "node = node_hash(peaks.pop(), node)",
        "node = node_hash(node, peaks.pop())",
    ),
    "admits over the credit line": (
        admission,
        "if first + state.exposure() > state.credit:",
        "if first > state.credit:",
    ),
}


def finds_a_failure() -> bool:
    """Whether some seed fails, in whatever way."""
    for seed in range(SEEDS):
        try:
            market.play(seed)
        except Exception:  # noqa: BLE001 - whatever breaks, in the test or in the core, counts
            return True
    return False


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug: str) -> None:
    with planted(*BUGS[bug]):
        assert finds_a_failure()
