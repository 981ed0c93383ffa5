"""Two honest shells around the pure core, small enough to be read at once.

They do what ``rowen.provider`` and ``rowen.client`` do without their clocks, sockets and disks:
compute, write to the journal, then send. A crash may be ordered before or after the journal.
Everything said goes through the real encoding and the real signatures.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace
from tests.property import lies
from tests.property.oracle import price

from rowen.protocol import admission, buyer, messages, seller
from rowen.protocol import buyer_events as heard
from rowen.protocol import seller_events as on
from rowen.protocol.admission import Terms
from rowen.protocol.buyer_channel import BuyerChannel
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, Reason, Refused
from rowen.protocol.ids import channel_id_of
from rowen.protocol.jobs import Finish, Kind
from rowen.protocol.messages import Signed, open_signed, seal
from rowen.protocol.metering import Reading
from rowen.protocol.seller_billing import Meter
from rowen.protocol.seller_channel import JobState, SellerChannel
from rowen.protocol.signing import Key
from rowen.protocol.statements import Order, Receipt, Status, Voucher
from rowen.protocol.units import Allowance
from rowen.store.base import JobReplayed

DOMAIN = Domain(31337, b"\xe5" * 20)
PROVIDER = Key(b"\x01" * 32)
SESSION = Key(b"\x02" * 32)
PAYER = b"\xaa" * 20
CHANNEL = channel_id_of(PAYER, PROVIDER.address, SESSION.address)
SALT = b"\x05" * 32


class Crash(Exception):
    """The process died; what was journaled is all that is left."""


@dataclass
class Link:
    """One connection: two ordered queues that lose everything when they are cut."""

    to_provider: deque[bytes] = field(default_factory=deque)
    to_client: deque[bytes] = field(default_factory=deque)
    is_cut: bool = False

    def cut(self) -> None:
        self.is_cut = True
        self.to_provider.clear()
        self.to_client.clear()


@dataclass(frozen=True)
class Script:
    """What the engine will make of one job."""

    input_units: int
    pieces: tuple[tuple[str, int], ...]
    cached_units: int
    finish: Finish


@dataclass
class Delivered:
    """The provider's work on one job, counted apart from the core."""

    order: Order
    input_units: int
    output_units: int = 0
    cached_units: int = 0
    amounts: int = 0
    is_free: bool = False

    def value(self) -> int:
        """What it is worth at the signed price; what a failed job adds is nothing."""
        now = price(self.order, self.input_units, self.cached_units, self.output_units)
        return self.amounts if self.is_free else max(self.amounts, now)


class Provider:
    """The selling side."""

    def __init__(self, credit: int, terms: Terms, view: ChannelView) -> None:
        self.terms = terms
        self.view = view
        self.credit = credit
        self.state = self.fresh()
        self.voucher: Signed | None = None
        self.journal: list[tuple] = []
        self.link: Link | None = None
        self.engines: dict[bytes, deque[tuple[str, int]]] = {}
        self.paused: set[bytes] = set()
        self.segments: dict[bytes, str] = {}
        self.delivered: dict[bytes, Delivered] = {}
        self.seen: set[bytes] = set()
        self.cheat: Callable[[Receipt], Receipt] | None = None
        self.crash_at = ""
        self.now_ms = 1_000

    def fresh(self) -> SellerChannel:
        return SellerChannel(
            domain=DOMAIN,
            channel_id=CHANNEL,
            payer=PAYER,
            provider=PROVIDER.address,
            signer=SESSION.address,
            credit=self.credit,
        )

    def say(self, *said: messages.FromProvider) -> None:
        if self.link and not self.link.is_cut:
            self.link.to_client.extend(map(messages.encode, said))

    def apply(self, event: on.Event, signed: Signed | None = None) -> None:
        """One event: compute, journal, send."""
        self.now_ms += 7
        state, effects = seller.step(self.state, event, Meter(now_ms=self.now_ms))
        entries: list[tuple] = []
        said: list[messages.FromProvider] = []
        segments = dict(self.segments)
        for effect in effects:
            if isinstance(effect, on.Deliver):
                segments[effect.job] = segments.get(effect.job, "") + effect.text
                said.append(messages.Chunk(effect.job, effect.at, effect.units, effect.text))
            elif isinstance(effect, on.Bill):
                entry = self.written(effect, segments.pop(effect.job, ""))
                entries.append(entry)
                said.append(self.bill(entry, self.lie_about(effect.receipt)))
            elif isinstance(effect, on.KeepVoucher):
                entries.append(("voucher", signed))
        if self.crash_at == "before journal":
            raise Crash
        self.journal += entries
        self.state, self.segments = state, segments
        if signed is not None and any(entry[0] == "voucher" for entry in entries):
            self.voucher = signed
        self.count(effects)
        if self.crash_at == "after journal":
            raise Crash
        self.say(*said)

    def written(self, effect: on.Bill, text: str) -> tuple:
        signed = seal(effect.receipt, DOMAIN, PROVIDER)
        finish = effect.finish.value if effect.finish else ""
        return ("receipt", effect.job, signed, text, finish, effect.detail)

    def lie_about(self, receipt: Receipt) -> Signed | None:
        """What a cheat sends; its journal holds the truth, to be sent when it is caught."""
        if receipt.status is Status.FAILED:
            # Free whatever it says, so no lie about it is worth telling.
            return None
        cheat, self.cheat = self.cheat, None
        return seal(cheat(receipt), DOMAIN, PROVIDER) if cheat else None

    def bill(self, entry: tuple, lie: Signed | None = None) -> messages.Bill:
        _, job, receipt, _, finish, detail = entry
        return messages.Bill(lie or receipt, job, finish, detail)

    def count(self, effects: list[on.Effect]) -> None:
        """Keeps engines and the books of this test."""
        for effect in effects:
            if isinstance(effect, on.Deliver):
                self.delivered[effect.job].output_units = effect.units
            elif isinstance(effect, on.Bill):
                work = self.delivered[effect.job]
                work.amounts += effect.receipt.amount
                work.cached_units = effect.receipt.cached_units
                work.is_free = effect.receipt.status is Status.FAILED
                if effect.finish is not None:
                    self.engines.pop(effect.job, None)
                    self.paused.discard(effect.job)
            elif isinstance(effect, on.Pause):
                self.paused.add(effect.job)
            elif isinstance(effect, on.Resume):
                self.paused.discard(effect.job)

    def exposure(self) -> int:
        """Work no voucher pays for, from this test's own books."""
        paid = open_signed(self.voucher, Voucher, DOMAIN).statement.total if self.voucher else 0
        return sum(work.value() for work in self.delivered.values()) - paid

    def hear(self, raw: bytes, scripts: dict[bytes, Script]) -> None:
        said = messages.decode_from_client(raw)
        if isinstance(said, messages.Attach):
            if said.voucher is not None and said.voucher != self.voucher:
                self.pay(said.voucher)
            self.say(messages.Attached(self.state.issued.count, self.voucher), *self.unpaid_again())
        elif isinstance(said, messages.Submit):
            self.take(said, scripts)
        elif isinstance(said, messages.Pay):
            self.pay(said.voucher)
        elif isinstance(said, messages.Cancel):
            self.apply(on.ClientCancelled(said.job))
        else:
            self.apply(on.ClientDisputed(said.sequence, said.detail))

    def pay(self, voucher: Signed) -> None:
        opened = open_signed(voucher, Voucher, DOMAIN)
        meter = Meter(now_ms=self.now_ms)
        for name, lie, signer in lies.about_voucher(opened.statement, opened.signer):
            try:
                seller.step(self.state, on.ClientPaid(lie, signer), meter)
            except PeerError:
                continue
            raise AssertionError(f"the provider believed a voucher with {name}")
        self.apply(on.ClientPaid(opened.statement, opened.signer), voucher)

    def take(self, said: messages.Submit, scripts: dict[bytes, Script]) -> None:
        opened = open_signed(said.order, Order, DOMAIN)
        order = opened.statement
        script = scripts[order.job_id]
        try:
            hashed = admission.input_hash(said.salt, said.input)
            admission.check_order(self.state, order, opened.signer, hashed)
            job = admission.admit(
                self.state,
                order,
                terms=self.terms,
                view=self.view,
                kind=Kind.CHAT,
                input_units=script.input_units,
                now_ms=self.now_ms,
            )
            if order.job_id in self.seen:
                # Said by the journal, which this is in place of.
                raise JobReplayed(order.job_id)
        except Refused as no:
            self.say(messages.No(order.job_id, no.reason.value, no.detail[:512], no.retry_ms))
            return
        self.seen.add(order.job_id)
        self.journal.append(("order", job))
        self.state = seller.start(self.state, job)
        self.engines[order.job_id] = deque(script.pieces)
        self.delivered[order.job_id] = Delivered(order, script.input_units)
        self.say(messages.Accepted(order.job_id, script.input_units))

    def work(self, job: bytes, script: Script) -> None:
        """The engine's next piece, or its end."""
        pieces = self.engines[job]
        if pieces:
            text, units = pieces.popleft()
            self.apply(on.EngineSaid(job, text, units))
        else:
            self.apply(on.EngineFinished(job, script.finish, script.cached_units))

    def unpaid_again(self) -> list[messages.FromProvider]:
        said: list[messages.FromProvider] = []
        at: dict[bytes, int] = {}
        receipts = [entry for entry in self.journal if entry[0] == "receipt"]
        for sequence, entry in enumerate(receipts):
            _, job, signed, text, _, _ = entry
            units = Receipt.decode(signed.words).output_units
            start = at.get(job, 0)
            at[job] = start + len(text.encode())
            if sequence >= self.state.paid.count:
                said.append(messages.Chunk(job, start, units, text))
                said.append(self.bill(entry))
        return said

    def leave(self) -> None:
        """The client is gone."""
        self.link = None
        for job in list(self.state.jobs):
            self.apply(on.ClientLost(job))

    def replay(self) -> SellerChannel:
        """What a restart makes of the journal."""
        state = self.fresh()
        for entry in self.journal:
            if entry[0] == "order":
                state = seller.start(state, entry[1])
            elif entry[0] == "receipt":
                _, _, signed, text, finish, _ = entry
                receipt = Receipt.decode(signed.words)
                state = seller.restore_receipt(state, receipt, text, is_last=bool(finish))
            else:
                opened = open_signed(entry[1], Voucher, DOMAIN)
                paid = on.ClientPaid(opened.statement, opened.signer)
                state, _ = seller.step(state, paid, Meter(now_ms=self.now_ms))
        return replace(state, stopped=self.state.stopped)

    def restart(self) -> None:
        self.crash_at = ""
        if self.link:
            self.link.cut()
        self.link = None
        self.engines, self.segments, self.paused = {}, {}, set()
        self.state = self.replay()
        vouchers = [entry[1] for entry in self.journal if entry[0] == "voucher"]
        self.voucher = vouchers[-1] if vouchers else None
        for job_id, job in self.state.jobs.items():
            if job.state is not JobState.BILLED:
                self.apply(on.EngineFailed(job_id, "the provider restarted"))


class Client:
    """The buying side."""

    def __init__(self, locked: int) -> None:
        self.locked = locked
        self.state = self.fresh()
        self.voucher: Signed | None = None
        self.journal: list[tuple] = []
        self.link: Link | None = None
        self.is_attached = False
        self.target = 0
        self.segments: dict[bytes, str] = {}
        self.text: dict[bytes, str] = {}
        self.units: dict[bytes, int] = {}
        self.receipts: list[Receipt] = []
        self.vouchers: list[Voucher] = []
        self.ended: dict[bytes, Finish | Reason] = {}
        self.crash_at = ""

    def fresh(self) -> BuyerChannel:
        return BuyerChannel(
            domain=DOMAIN,
            channel_id=CHANNEL,
            payer=PAYER,
            provider=PROVIDER.address,
            locked=self.locked,
        )

    def say(self, *said: messages.FromClient) -> None:
        if self.link and not self.link.is_cut:
            self.link.to_provider.extend(map(messages.encode, said))

    def attach(self, link: Link) -> None:
        self.link, self.is_attached = link, False
        count = self.state.log.count
        escrow = DOMAIN.escrow
        self.say(messages.Attach(DOMAIN.chain_id, escrow, PAYER, count, self.voucher))

    def order(self, order: Order, encoded: bytes, bound: int) -> None:
        self.state = buyer.place(self.state, order, whole(bound))
        self.journal.append(("order", order, bound))
        self.say(messages.Submit(seal(order, DOMAIN, SESSION), SALT, encoded))

    def apply(self, event: heard.Event, bill: messages.Bill | None = None) -> None:
        state, effects = buyer.step(self.state, event)
        entries: list[tuple] = []
        said: list[messages.FromClient] = []
        segments, voucher = dict(self.segments), self.voucher
        for effect in effects:
            if isinstance(effect, heard.Deliver):
                segments[effect.job] = segments.get(effect.job, "") + effect.text
            elif isinstance(effect, heard.Pay):
                voucher = seal(effect.voucher, DOMAIN, SESSION)
                entries.append(("paid", event, segments.pop(effect.job, ""), voucher))
                said.append(messages.Pay(voucher))
            elif isinstance(effect, heard.SendCancel):
                said.append(messages.Cancel(effect.job))
            elif isinstance(effect, heard.Dispute):
                entries.append(("stopped", state.stopped))
                said.append(messages.Disputed(effect.receipt.sequence, effect.detail))
            elif effect.receipt is None:
                entries.append(("dropped", effect.job))
        if self.crash_at == "before journal":
            raise Crash
        self.journal += entries
        self.state, self.segments, self.voucher = state, segments, voucher
        self.count(effects)
        if self.crash_at == "after journal":
            raise Crash
        self.say(*said)

    def count(self, effects: list[heard.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, heard.Deliver):
                self.text[effect.job] = self.text.get(effect.job, "") + effect.text
                self.units[effect.job] = self.units.get(effect.job, 0) + effect.units
            elif isinstance(effect, heard.Pay):
                self.receipts.append(effect.receipt)
                self.vouchers.append(effect.voucher)
            elif isinstance(effect, heard.Ended):
                assert effect.job not in self.ended, "a job ended twice"
                self.ended[effect.job] = effect.finish

    def hear(self, raw: bytes) -> None:
        said = messages.decode_from_provider(raw)
        if isinstance(said, messages.Attached):
            assert said.voucher == self.voucher, "the provider knows a voucher that we do not"
            assert said.receipt_count >= self.state.log.count
            self.target = said.receipt_count
            self.is_attached = True
        elif isinstance(said, messages.Chunk):
            self.apply(heard.ProviderSent(said.job, said.at, said.units, said.text))
        elif isinstance(said, messages.Bill):
            self.billed(said)
        elif isinstance(said, messages.Accepted):
            self.apply(heard.ProviderAccepted(said.job, said.input_units))
        elif isinstance(said, messages.No) and said.job is not None and said.job in self.state.jobs:
            self.apply(heard.ProviderRefused(said.job))
            self.journal.append(("dropped", said.job))
            self.ended[said.job] = Reason(said.reason)
        if self.is_attached and self.state.log.count == self.target:
            self.target = -1
            for job in list(self.state.jobs):
                self.apply(heard.CaughtUp(job))

    def billed(self, said: messages.Bill) -> None:
        opened = open_signed(said.receipt, Receipt, DOMAIN)
        finish = Finish(said.finish) if said.finish else None
        event = heard.ProviderBilled(
            said.job, opened.statement, opened.digest, opened.signer, finish, said.detail
        )
        _, effects = buyer.step(self.state, event)
        is_payable = any(isinstance(effect, heard.Pay) for effect in effects)
        for name, lie in lies.about_receipt(event) if is_payable else ():
            try:
                _, effects = buyer.step(self.state, lie)
            except PeerError:
                continue
            assert isinstance(effects[0], heard.Dispute), f"the client paid for {name}"
            assert not any(isinstance(effect, heard.Pay) for effect in effects)
        self.apply(event, said)

    def leave(self) -> None:
        self.link, self.is_attached = None, False
        for job in list(self.state.jobs):
            self.apply(heard.ProviderLost(job))

    def replay(self) -> BuyerChannel:
        state = self.fresh()
        for entry in self.journal:
            if entry[0] == "order":
                state = buyer.place(state, entry[1], whole(entry[2]))
                state, _ = buyer.step(state, heard.ProviderLost(entry[1].job_id))
            elif entry[0] == "paid":
                _, event, text, voucher = entry
                job = state.jobs[event.job]
                units = max(event.receipt.output_units, job.output_units)
                again = heard.ProviderSent(event.job, job.output_bytes, units, text)
                state, _ = buyer.step(state, again)
                state, effects = buyer.step(state, event)
                assert isinstance(effects[0], heard.Pay)
                assert effects[0].voucher.encode() == voucher.words
            elif entry[0] == "dropped" and entry[1] in state.jobs:
                state, _ = buyer.step(state, heard.CaughtUp(entry[1]))
            elif entry[0] == "stopped":
                state = replace(state, stopped=entry[1], jobs={})
        return state

    def restart(self) -> None:
        self.crash_at = ""
        if self.link:
            self.link.cut()
        self.link, self.is_attached = None, False
        self.segments = {}
        self.state = self.replay()
        vouchers = [entry[3] for entry in self.journal if entry[0] == "paid"]
        self.voucher = vouchers[-1] if vouchers else None
        # Its user, too, has only what was kept.
        self.text, self.units = {}, {}
        for entry in self.journal:
            if entry[0] == "paid":
                _, event, text, _ = entry
                self.text[event.job] = self.text.get(event.job, "") + text
                self.units[event.job] = event.receipt.output_units


def whole(bound: int) -> Allowance:
    """Of an input that is read at once, with no more units than these."""
    return Allowance(input_units_max=(bound,))


def reading_of(receipt: Receipt) -> Reading:
    return Reading(receipt.input_units, receipt.cached_units, receipt.output_units)
