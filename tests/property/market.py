"""One buyer and one seller over a network that cuts, with crashes, cancels and lies.

Every invariant quotes the promise it holds (docs: threats.md, P2, P3, P7).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.property import lies
from tests.property.oracle import head, price
from tests.property.sides import CHANNEL, DOMAIN, SALT, Client, Crash, Link, Provider, Script

from rowen.protocol import messages
from rowen.protocol import seller_events as on
from rowen.protocol.admission import Terms, input_hash
from rowen.protocol.buyer_events import DeadlinePassed, UserCancelled
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import UserError
from rowen.protocol.jobs import ChatInput, Finish, Message
from rowen.protocol.messages import open_signed
from rowen.protocol.seller_channel import JobState
from rowen.protocol.statements import Order, Status, Voucher
from rowen_scheduler.market import Variant

VARIANT = Variant(
    id=b"\x0a" * 32,
    model="m",
    precision="q4",
    weights_digest=b"\x0b" * 32,
    build="b",
    context_units=60,
    kinds=("chat", "completion"),
    output_units_max=40,
    price_input=0,
    price_cached=0,
    price_output=0,
    price_request=0,
)
ENCODED = messages.encode_input(ChatInput((Message("user", "x" * 40),)))
BOUND = 40

# A piece has at least as many bytes as units, but for a token without text.
PIECES = st.sampled_from([("xxxxx", 5), ("w" * 9, 8), ("né", 2), ("日本", 3), ("a", 1), ("", 1)])
# Per million, so 1_500_000 is one and a half token units a unit: rounding happens.
INPUT_PRICES = st.sampled_from([333_333, 0, 1, 1_000_000, 1_500_000, 7_000_001])
PRICES = st.sampled_from([1_500_000, 7_000_001, 1_000_000, 333_333, 1, 0])
SCRIPTS = st.builds(
    Script,
    input_units=st.integers(0, 6) | st.integers(0, BOUND),
    pieces=(st.lists(PIECES, min_size=4, max_size=10) | st.lists(PIECES, max_size=2)).map(
        lambda made: tuple(p for i, p in enumerate(made) if p[0] or made[:i].count(p) < 2)
    ),
    cached_units=st.integers(0, 50),
    finish=st.sampled_from([Finish.STOP, Finish.LENGTH]),
)
POINTS = st.sampled_from(["now", "before journal", "after journal"])


class Market(RuleBasedStateMachine):
    """Drives both sides; the teardown lets everything come to rest and balances the books."""

    @initialize(
        credit=st.sampled_from([25, 40, 12, 200, 5_000, 0]),
        locked=st.sampled_from([100_000, 50_000, 500, 50]),
        jobs_max=st.sampled_from([4, 3, 2, 1]),
    )
    def open(self, credit: int, locked: int, jobs_max: int) -> None:
        terms = Terms(variants={VARIANT.id: VARIANT}, jobs_max=jobs_max, deadline_ms_max=10**9)
        self.provider = Provider(credit, terms, ChannelView(locked=locked, claimed=0))
        self.client = Client(locked)
        self.scripts: dict[bytes, Script] = {}
        self.orders: dict[bytes, Order] = {}
        self.digests: dict[bytes, bytes] = {}
        self.looked_at = (0, 0)
        self.credit = credit
        self.cheated = False
        self.has_failed = False
        self.heads = [head([])]
        self.paid_before = 0
        self.connect()

    # --- the network

    def connect(self) -> None:
        if self.provider.link is not None:
            self.at_provider(self.provider.leave)
        if self.client.link is not None:
            self.at_client(self.client.leave)
        link = Link()
        self.provider.link = link
        self.client.attach(link)

    def at_provider(self, do: Any, *args: Any) -> None:
        with self.noting():
            try:
                do(*args)
            except Crash:
                self.provider.restart()

    def at_client(self, do: Any, *args: Any) -> None:
        with self.noting():
            try:
                do(*args)
            except Crash:
                self.client.restart()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Remembers a failure, so that the teardown does not hide it behind its own."""
        try:
            yield
        except BaseException:
            self.has_failed = True
            raise

    def to_provider(self) -> bool:
        link = self.provider.link
        if link is None or not link.to_provider:
            return False
        self.at_provider(self.provider.hear, link.to_provider.popleft(), self.scripts)
        return True

    def to_client(self) -> bool:
        link = self.client.link
        if link is None or not link.to_client:
            return False
        self.at_client(self.client.hear, link.to_client.popleft())
        return True

    @rule(count=st.integers(1, 12))
    def provider_hears(self, count: int) -> None:
        for _ in range(count):
            self.to_provider()

    @rule(count=st.integers(1, 12))
    def client_hears(self, count: int) -> None:
        for _ in range(count):
            self.to_client()

    @rule(count=st.integers(1, 20))
    def all_goes_well(self, count: int) -> None:
        for _ in range(count):
            self.progress()

    @rule(what=st.sampled_from(["cut", "provider notices", "client notices", "reconnect"]))
    def link_trouble(self, what: str) -> None:
        if what == "cut":
            for side in (self.provider, self.client):
                if side.link:
                    side.link.cut()
        elif what == "reconnect":
            self.connect()
        elif what == "provider notices":
            if self.provider.link and self.provider.link.is_cut:
                self.at_provider(self.provider.leave)
        elif self.client.link and self.client.link.is_cut:
            self.at_client(self.client.leave)

    @rule(who=st.sampled_from(["provider", "client"]), point=POINTS)
    def crash(self, who: str, point: str) -> None:
        """Now, or when the next event is about to be journaled or sent."""
        side = self.provider if who == "provider" else self.client
        if point == "now":
            side.restart()
        else:
            side.crash_at = point

    def attach(self) -> bool:
        """Brings the client as far as it can order; False when it will not."""
        link = self.client.link
        if link is None or link.is_cut or link is not self.provider.link:
            self.connect()
        for _ in range(200):
            if self.client.is_attached and self.client.target < 0:
                return True
            if not (self.to_client() or self.to_provider()):
                return False
        return False

    # --- jobs

    @rule(
        script=SCRIPTS,
        prices=st.tuples(INPUT_PRICES, INPUT_PRICES, PRICES, st.sampled_from([0, 1, 7])),
        amount_max=st.sampled_from([10_000, 2_000, 400, 150, 30, 0]),
        output_units_max=st.sampled_from([40, 10, 1]),
        heard=st.sampled_from([3, 2, 1, 0]),
        made=st.integers(0, 4),
    )
    def submit(
        self,
        script: Script,
        prices: tuple[int, int, int, int],
        amount_max: int,
        output_units_max: int,
        heard: int,
        made: int,
    ) -> None:
        if not self.attach():
            return
        job_id = len(self.orders).to_bytes(32, "big")
        price_input, price_cached, price_output, price_request = prices
        order = Order(
            channel_id=CHANNEL,
            job_id=job_id,
            variant=VARIANT.id,
            input_hash=input_hash(SALT, ENCODED),
            price_input=price_input,
            # A cache that costs more than no cache is nobody's offer.
            price_cached=min(price_cached, price_input),
            price_output=price_output,
            price_request=price_request,
            output_units_max=output_units_max,
            amount_max=amount_max,
            deadline_ms=10**6,
        )
        promised = sum(
            self.orders[job].amount_max - self.paid_for(job) for job in self.client.state.jobs
        )
        free = self.client.locked - self.client.state.log.total - promised
        with self.noting():
            try:
                self.client.order(order, ENCODED, BOUND)
            except UserError:
                assert self.client.state.stopped or amount_max > free
                return
            assert amount_max <= free
        self.scripts[job_id], self.orders[job_id] = script, order
        self.digests[job_id] = order.digest(DOMAIN)
        for _ in range(heard):
            self.to_provider()
            self.to_client()
        for _ in range(made):
            if job_id in self.provider.engines and job_id not in self.provider.paused:
                self.at_provider(self.provider.work, job_id, script)

    @rule(which=st.integers(0, 3), count=st.integers(1, 6))
    def engine_works(self, which: int, count: int) -> None:
        for _ in range(count):
            ready = [job for job in self.provider.engines if job not in self.provider.paused]
            if ready:
                job = ready[which % len(ready)]
                self.at_provider(self.provider.work, job, self.scripts[job])

    @rule(
        which=st.integers(0, 3),
        made=st.integers(0, 5),
        heard=st.integers(0, 4),
        end=st.sampled_from(["cut", "provider", "client"]),
    )
    def it_ends_in_mid_sentence(self, which: int, made: int, heard: int, end: str) -> None:
        """Some output is made, some of it heard, and then the line or a process is gone."""
        self.engine_works(which, made)
        for _ in range(heard):
            self.to_client()
        if end == "cut":
            self.link_trouble("cut")
        else:
            self.crash(end, "now")

    @rule(which=st.integers(0, 3), how=st.sampled_from(["owner", "deadline", "engine"]))
    def provider_ends(self, which: int, how: str) -> None:
        if not self.provider.engines:
            return
        job = list(self.provider.engines)[which % len(self.provider.engines)]
        events = {
            "owner": on.OwnerReturned(job),
            "deadline": on.DeadlinePassed(job),
            "engine": on.EngineFailed(job, "out of memory"),
        }
        self.at_provider(self.provider.apply, events[how])

    @rule(which=st.integers(0, 3), event=st.sampled_from([UserCancelled, DeadlinePassed]))
    def client_ends(self, which: int, event: Any) -> None:
        if self.client.state.jobs:
            job = list(self.client.state.jobs)[which % len(self.client.state.jobs)]
            self.at_client(self.client.apply, event(job))

    @precondition(lambda self: len(self.client.receipts) >= 3)
    @rule(lie=st.sampled_from([lies.overcharged, lies.overmetered]))
    def provider_cheats(self, lie: Any) -> None:
        """The next receipt it writes is a lie; threats 16, 17, 22."""
        self.provider.cheat = lie
        self.cheated = True

    # --- what always holds

    def paid_for(self, job: bytes) -> int:
        digest = self.digests[job]
        return sum(r.amount for r in self.client.receipts if r.order_hash == digest)

    def p2_exposure_stays_within_credit_and_one_piece(self) -> None:
        """P2: "A provider never works more than X uncovered"."""
        work = self.provider.delivered.values()
        piece = max((8 * w.order.price_output // 10**6 + 1 for w in work), default=0)
        assert self.provider.exposure() <= max(self.credit, piece)
        assert self.provider.state.exposure() == self.provider.exposure()

    def p3_the_client_pays_for_what_it_received(self) -> None:
        """P3: "never pays above the maximum it signed, nor for a chunk it did not receive"."""
        for job, order in self.orders.items():
            mine = [r for r in self.client.receipts if r.order_hash == self.digests[job]]
            charged = [r for r in mine if r.status is not Status.FAILED]
            received = self.client.units.get(job, 0)
            assert all(r.output_units <= received for r in charged)
            worth = [price(order, r.input_units, r.cached_units, r.output_units) for r in charged]
            assert sum(r.amount for r in mine) == max(worth, default=0)
            assert sum(r.amount for r in mine) <= order.amount_max
            assert all(r.amount == 0 for r in mine if r.status is Status.FAILED)

    def every_voucher_is_the_exact_sum_of_its_receipts(self) -> None:
        """Design: "At every voucher total == Σ receipt.amount, exactly"."""
        receipts, vouchers = self.client.receipts, self.client.vouchers
        log = self.client.state.log
        # A payment that died before it was journaled was never sent.
        del receipts[log.count :], vouchers[log.count :]
        assert log.count == len(receipts) == len(vouchers)
        assert log.total == sum(receipt.amount for receipt in receipts)
        assert log.total <= self.client.locked
        entries = [receipt.digest(DOMAIN) for receipt in receipts]
        while len(self.heads) <= log.count:
            self.heads.append(head(entries[: len(self.heads)]))
        for count, voucher in enumerate(vouchers, start=1):
            assert voucher.receipt_count == count
            assert voucher.total == sum(receipt.amount for receipt in receipts[:count])
        assert log.frontier.root() == head(entries)
        if vouchers:
            assert vouchers[-1].receipts_root == head(entries)

    def the_logs_agree_as_far_as_both_go(self) -> None:
        issued, paid = self.provider.state.issued, self.provider.state.paid
        log = self.client.state.log
        assert paid.count <= log.count
        assert paid.total <= log.total
        assert log.count <= issued.count
        assert paid.frontier.root() == self.heads[paid.count]

    def p7_acknowledged_money_is_journaled(self) -> None:
        """P7: "A restart at any point loses no acknowledged money and never pays twice"."""
        assert self.provider.state.paid.total >= self.paid_before
        self.paid_before = self.provider.state.paid.total
        if self.provider.voucher:
            voucher = open_signed(self.provider.voucher, Voucher, DOMAIN).statement
            assert (voucher.total, voucher.receipt_count) == (
                self.provider.state.paid.total,
                self.provider.state.paid.count,
            )
        journals = (len(self.provider.journal), len(self.client.journal))
        if journals == self.looked_at:
            return
        self.looked_at = journals
        replayed = self.provider.replay()
        assert (replayed.issued, replayed.paid, replayed.unpaid) == (
            self.provider.state.issued,
            self.provider.state.paid,
            self.provider.state.unpaid,
        )
        assert replayed.jobs.keys() == self.provider.state.jobs.keys()
        for job_id, job in self.provider.state.jobs.items():
            if job.state is JobState.BILLED:
                other = replayed.jobs[job_id]
                assert (other.reading, other.billed) == (job.reading, job.billed)
                assert other.hasher.digest() == job.hasher.digest()
        again = self.client.replay()
        assert again.log == self.client.state.log
        assert again.jobs.keys() == self.client.state.jobs.keys()
        for job_id, bought in self.client.state.jobs.items():
            twin = again.jobs[job_id]
            assert (twin.billed, twin.segment, twin.reading) == (
                bought.billed,
                bought.segment,
                bought.reading,
            )

    def a_paused_job_has_a_voucher_to_wait_for(self) -> None:
        """A pause that nothing ends would hang the client's answer."""
        state = self.provider.state
        if any(job.state is JobState.PAUSED for job in state.jobs.values()):
            assert state.unpaid

    @invariant()
    def all_promises_hold(self) -> None:
        with self.noting():
            self.p2_exposure_stays_within_credit_and_one_piece()
            self.p3_the_client_pays_for_what_it_received()
            self.every_voucher_is_the_exact_sum_of_its_receipts()
            self.the_logs_agree_as_far_as_both_go()
            self.p7_acknowledged_money_is_journaled()
            self.a_paused_job_has_a_voucher_to_wait_for()

    # --- coming to rest

    def teardown(self) -> None:
        if not hasattr(self, "provider") or self.has_failed:
            return
        self.provider.crash_at = self.client.crash_at = ""
        link = self.client.link
        if link is None or link.is_cut or link is not self.provider.link:
            self.connect()
        while self.progress():
            self.all_promises_hold()
        state, log = self.provider.state, self.client.state.log
        assert not self.client.state.jobs, "a job is stuck at the client"
        assert self.client.ended.keys() == self.orders.keys()
        if self.client.state.stopped:
            assert self.cheated
            assert state.paid == log
            return
        assert not state.jobs, "a job is stuck at the provider"
        assert state.issued == state.paid == log
        assert self.provider.exposure() == 0
        for job, how in self.client.ended.items():
            said = "".join(text for text, _ in self.scripts[job].pieces)
            assert said.startswith(self.client.text.get(job, ""))
            if how is Finish.STOP:
                assert self.client.text.get(job, "") == said

    def progress(self) -> bool:
        if self.to_provider() or self.to_client():
            return True
        for job in list(self.provider.engines):
            if job not in self.provider.paused:
                self.at_provider(self.provider.work, job, self.scripts[job])
                return True
        return False


def play(seed: int, steps: int = 60) -> Market:
    """One run with weighted dice: denser than Hypothesis, and as repeatable."""
    dice = Random(seed)
    market = Market()
    try:
        market.open(
            credit=dice.choice([8, 12, 25, 40, 40, 200, 5_000, 0]),
            locked=dice.choice([100_000, 100_000, 500, 50]),
            jobs_max=dice.choice([1, 2, 4, 4]),
        )
        for _ in range(steps):
            _roll(market, dice)
            market.all_promises_hold()
    except BaseException:
        market.has_failed = True
        raise
    finally:
        market.teardown()
    return market


def _roll(market: Market, dice: Random) -> None:
    count, which = dice.randint(1, 6), dice.randrange(4)
    kind = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    if kind == "submit":
        market.submit(**_dice_order(dice))
    elif kind == "all goes well":
        market.all_goes_well(3 * count)
    elif kind == "engine":
        market.engine_works(which, count)
    elif kind == "provider hears":
        market.provider_hears(count)
    elif kind == "client hears":
        market.client_hears(count)
    elif kind == "mid sentence":
        end = dice.choice(["cut", "cut", "provider", "client"])
        market.it_ends_in_mid_sentence(which, count, dice.randrange(5), end)
    elif kind == "link":
        market.link_trouble(dice.choice(["cut", "provider notices", "client notices", "reconnect"]))
    elif kind == "crash":
        point = dice.choice(["now", "before journal", "after journal"])
        market.crash(dice.choice(["provider", "client"]), point)
    elif kind == "provider ends":
        market.provider_ends(which, dice.choice(["owner", "deadline", "engine"]))
    elif kind == "client ends":
        market.client_ends(which, dice.choice([UserCancelled, DeadlinePassed]))
    elif len(market.client.receipts) >= 3:
        market.provider_cheats(dice.choice([lies.overcharged, lies.overmetered]))


_WEIGHTS = {
    "submit": 5,
    "all goes well": 4,
    "engine": 6,
    "provider hears": 5,
    "client hears": 5,
    "mid sentence": 1,
    "link": 1,
    "crash": 0.5,
    "provider ends": 0.7,
    "client ends": 0.7,
    "cheat": 0.2,
}


def _dice_order(dice: Random) -> dict[str, Any]:
    sizes = [("xxxxx", 5), ("w" * 9, 8), ("né", 2), ("日本", 3), ("a", 1)]
    pieces = [*dice.choices(sizes, k=dice.choice([0, 2, 5, 9])), ("", 1)]
    dice.shuffle(pieces)
    input_price = dice.choice([0, 1, 333_333, 500_000, 1_500_000])
    return {
        "script": Script(
            input_units=dice.choice([0, 1, 5, 11, BOUND]),
            pieces=tuple(pieces),
            cached_units=dice.randrange(50),
            finish=dice.choice([Finish.STOP, Finish.LENGTH]),
        ),
        "prices": (
            input_price,
            dice.choice([0, input_price // 2, input_price]),
            dice.choice([1_500_000, 1_000_000, 333_333, 7_000_001, 0]),
            dice.choice([0, 0, 1, 7]),
        ),
        "amount_max": dice.choice([10_000, 2_000, 300, 300, 30]),
        "output_units_max": dice.choice([40, 40, 10]),
        "heard": dice.randrange(4),
        "made": dice.randrange(4),
    }
