"""Jobs answered item by item, both sides together: whatever is cut or lied about. P1, P3."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.property import lies
from tests.unit.protocol import build
from tests.unit.protocol.build import NOW_MS, OPERATOR, order

from rowen.protocol import buyer, seller
from rowen.protocol import buyer_events as heard
from rowen.protocol import seller_events as on
from rowen.protocol.buyer_channel import BuyerChannel
from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import EmbeddingsInput, Finish
from rowen.protocol.metering import Reading, cost
from rowen.protocol.seller_billing import Meter
from rowen.protocol.seller_channel import SellerChannel
from rowen.protocol.statements import Order, Receipt, Status
from rowen.protocol.units import allowance_of
from rowen.protocol.vectors import vector_text

METER = Meter(now_ms=NOW_MS)
INPUT = EmbeddingsInput(tuple("text " * n for n in range(1, 7)))
ALLOWANCE = allowance_of(INPUT)


@dataclass
class Sides:
    """A seller and a buyer whose messages arrive, cut as a line may cut them."""

    order: Order
    cut: int
    seller: SellerChannel
    buyer: BuyerChannel
    received: list[str] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    lies_refused: int = 0

    def do(self, event: on.Event) -> None:
        self.seller, effects = seller.step(self.seller, event, METER)
        for effect in effects:
            if isinstance(effect, on.Deliver):
                self.deliver(effect)
            elif isinstance(effect, on.Bill):
                self.bill(effect)

    def deliver(self, said: on.Deliver) -> None:
        for first in range(0, len(said.text), self.cut):
            text = said.text[first : first + self.cut]
            self.hear(heard.ProviderSent(said.job, said.at + first, said.units, text))

    def hear(self, event: heard.Event) -> list[heard.Effect]:
        self.buyer, effects = buyer.step(self.buyer, event)
        self.received += [e.text for e in effects if isinstance(e, heard.Deliver)]
        return effects

    def bill(self, said: on.Bill) -> None:
        event = heard.ProviderBilled(
            said.job, said.receipt, said.digest, OPERATOR.address, said.finish, said.detail
        )
        for name, lie in [*lies.about_receipt(event), *self.greedy(event)]:
            try:
                _, effects = buyer.step(self.buyer, lie)
            except PeerError:
                continue
            assert isinstance(effects[0], heard.Dispute), f"the client paid for {name}"
            self.lies_refused += 1
        paid = self.hear(event)[0]
        assert isinstance(paid, heard.Pay), paid
        self.receipts.append(said.receipt)
        self.do(on.ClientPaid(paid.voucher, build.SESSION.address))

    def greedy(self, event: heard.ProviderBilled) -> list[tuple[str, heard.ProviderBilled]]:
        """The same receipt, rightly priced, with input of an item that was not answered."""
        receipt = event.receipt
        if receipt.status is Status.FAILED:
            return []
        job = self.buyer.jobs[event.job]
        most = ALLOWANCE.input_units_at_most(job.output_ends, job.output_signs)
        reading = Reading(most + 1, receipt.cached_units, receipt.output_units)
        owed = max(0, cost(self.order, reading) - job.billed)
        total = receipt.total - receipt.amount + owed
        lie = replace(receipt, input_units=most + 1, amount=owed, total=total)
        return [("input nobody answered", lies.but(event, receipt=lie))]


@given(
    dimensions=st.integers(1, 5),
    units=st.lists(st.integers(1, 8), min_size=6, max_size=6),
    cut=st.integers(1, 60),
    prices=st.tuples(*[st.sampled_from([0, 1, 333_333, 1_000_000, 2_500_000])] * 2),
    request=st.integers(0, 3),
    money=st.integers(4, 120),
    room=st.integers(1, 40),
    ending=st.sampled_from([*range(7), "failed", "lost", "preempted"]),
)
def test_each_item_is_paid_for_once_it_is_here_and_not_before(
    dimensions: int,
    units: list[int],
    cut: int,
    prices: tuple[int, int],
    request: int,
    money: int,
    room: int,
    ending: int | str,
) -> None:
    """The sums are those of the items received, to the unit, and never above the order's."""
    wish = order(
        price_input=prices[0],
        price_cached=prices[0],
        price_output=prices[1],
        price_request=request,
        amount_max=money,
        output_units_max=room,
    )
    start = build.seller_job(wish, reading=Reading(0, 0, 0), output_units_max=room)
    sides = Sides(
        wish,
        cut,
        seller.start(replace(build.seller_channel(), credit=25), start),
        buyer.place(build.buyer_channel(), wish, ALLOWANCE),
    )
    job_id = wish.job_id
    sides.hear(heard.ProviderAccepted(job_id, 0))
    vectors = [[float(n)] * dimensions for n in range(6)]
    for number, (vector, count) in enumerate(zip(vectors, units, strict=True)):
        if number == ending:
            sides.do(on.ClientCancelled(job_id))
        if job_id in sides.seller.jobs:
            sides.do(on.EngineSaid(job_id, vector_text(vector), dimensions, count))
    if job_id in sides.seller.jobs:
        last: dict[str, on.Event] = {
            "failed": on.EngineFailed(job_id, "it broke"),
            "lost": on.ClientLost(job_id),
            "preempted": on.OwnerReturned(job_id),
        }
        sides.do(last.get(str(ending)) or on.EngineFinished(job_id, Finish.STOP, 0))
    assert not sides.seller.jobs, "the job is over and paid"
    told = "".join(sides.received)
    answered = told.count("\n")
    assert told == "".join(map(vector_text, vectors[:answered])), "items come whole or not at all"
    final = sides.receipts[-1]
    billed = [r for r in sides.receipts if r.status is not Status.FAILED]
    paid = sum(receipt.amount for receipt in sides.receipts)
    assert paid == sides.buyer.log.total == sides.seller.paid.total <= money
    if final.status is not Status.FAILED:
        assert final.input_units == sum(units[:answered])
        assert final.output_units == dimensions * answered <= room
        assert paid == cost(wish, Reading(final.input_units, 0, final.output_units))
    elif billed:
        assert billed[-1].input_units <= sum(units[:answered])
    assert sides.lies_refused > 0
