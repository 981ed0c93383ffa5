"""Hypothesis strategies for everything the journal keeps."""

from __future__ import annotations

from hypothesis import strategies as st
from tests.integration.store.entries import named, settled, voucher

from rowen.protocol.messages import Signed
from rowen.protocol.statements import AMOUNT_MAX
from rowen.store.base import (
    ChannelOpened,
    ChannelStopped,
    DisputeKept,
    Entry,
    JobDropped,
    OrderKept,
    ReceiptKept,
    Role,
)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_counts = st.integers(0, 2**63 - 1)
_roles: st.SearchStrategy[Role] = st.sampled_from(["seller", "buyer"])
_signed = st.builds(Signed, st.binary(max_size=1024), st.binary(min_size=64, max_size=64))


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """A channel's entries, every field drawn, in an order the journal takes."""
    role = draw(_roles)
    channel_id = draw(st.binary(min_size=32, max_size=32))
    addresses = {
        name: draw(st.binary(min_size=20, max_size=20))
        for name in ("escrow", "payer", "provider", "signer")
    }
    entries: list[Entry] = [
        ChannelOpened(channel_id=channel_id, role=role, chain_id=draw(_counts), **addresses)
    ]
    jobs: list[bytes] = []
    receipts = covered = total = 0
    for kind in draw(st.lists(st.sampled_from("orvljds"), max_size=12)):
        if kind == "o" or not jobs:
            jobs.append(named(f"job {len(jobs)}"))
            entries.append(_order(draw, channel_id, jobs[-1]))
        elif kind == "r":
            entries.append(_receipt(draw, channel_id, receipts, draw(st.sampled_from(jobs))))
            receipts += 1
        elif kind == "v" and covered < receipts:
            covered = draw(st.integers(covered + 1, receipts))
            total = draw(st.integers(total, AMOUNT_MAX))
            entries.append(voucher(covered, channel_id, total=total, voucher=draw(_signed)))
        elif kind == "l" and covered == receipts:
            peaks = tuple(draw(st.lists(st.binary(min_size=32, max_size=32), max_size=3)))
            entries.append(settled(covered, channel_id, peaks=peaks, voucher=draw(_signed)))
        elif kind == "j":
            job = draw(st.sampled_from(jobs))
            entries.append(JobDropped(channel_id=channel_id, job_id=job, detail=draw(_texts)))
        elif kind == "d":
            entries.append(
                DisputeKept(
                    channel_id=channel_id,
                    sequence=draw(_counts),
                    receipt=draw(_signed),
                    detail=draw(_texts),
                )
            )
        elif kind == "s":
            entries.append(ChannelStopped(channel_id=channel_id, detail=draw(_texts)))
    return entries


def _order(draw: st.DrawFn, channel_id: bytes, job_id: bytes) -> OrderKept:
    return OrderKept(
        channel_id=channel_id,
        job_id=job_id,
        order=draw(_signed),
        salt=draw(st.binary(max_size=40)),
        input=draw(st.binary(max_size=200)),
        input_units=draw(_counts),
        input_units_max=draw(_counts),
        output_units_max=draw(_counts),
        started_at_ms=draw(_counts),
    )


def _receipt(draw: st.DrawFn, channel_id: bytes, sequence: int, job_id: bytes) -> ReceiptKept:
    return ReceiptKept(
        channel_id=channel_id,
        sequence=sequence,
        job_id=job_id,
        receipt=draw(_signed),
        text=draw(_texts),
        finish=draw(st.sampled_from(["", "stop", "length"])),
        detail=draw(_texts),
    )
