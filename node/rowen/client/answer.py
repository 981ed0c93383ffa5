"""One answer, bought from one provider or, when that one fails, continued by the next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import trio
from msgspec.structs import replace

from rowen.client.account import Account
from rowen.client.inbox import Billed, Failed, Inbox, Over, Started, Text
from rowen.protocol.admission import input_hash
from rowen.protocol.errors import Reason, Refused, RowenError, Unavailable, UserError
from rowen.protocol.ids import format_address
from rowen.protocol.jobs import (
    CompletionInput,
    EmbeddingsInput,
    Finish,
    JobInput,
    Kind,
    Message,
    OcrInput,
    kind_of,
)
from rowen.protocol.messages import Signed, encode_input
from rowen.protocol.metering import PRICE_UNITS, Reading, cost, output_units_affordable
from rowen.protocol.statements import Order, Receipt, Status
from rowen.protocol.units import ITEM_ENDS, allowance_of, input_units_least
from rowen_scheduler.market import Variant
from rowen_scheduler.selection import Match, Preferences, Rejection

if TYPE_CHECKING:
    from rowen.client.client import Client

AGAIN_S_MIN: Final = 0.25
"""A provider that says "at once" is asked again after so long."""

_ADVICE: Final = {
    Reason.COST_ABOVE_MAX: "raise max_cost",
    Reason.CHANNEL_UNLOCKING: (
        "the channel is being closed; take its rest with `rowen channel close PROVIDER --unlock` "
        "when it is due, and open it again"
    ),
}
"""What a person can do about a refusal that the same question would meet again."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        input: What to answer, and sampling.
        preferences: Which providers will do.
        max_cost: For the whole answer, token units.
        max_output: Output units of the whole answer.
    """

    input: JobInput
    preferences: Preferences
    max_cost: int
    max_output: int


@dataclass(slots=True)
class Part:
    """What one provider contributed.

    Attributes:
        provider: Its address, 20 bytes.
        variant: What it ran.
        order: What was signed.
        input_units: Prompt tokens, as the provider counts them.
        output_units: Received.
        receipts: Checked and paid for, with the provider's signatures.
        is_settled: Whether nothing more can be billed: the last receipt came, or none will.
    """

    provider: bytes
    variant: Variant
    order: Order
    input_units: int = 0
    output_units: int = 0
    receipts: list[tuple[Receipt, Signed]] = field(default_factory=list)
    is_settled: bool = False

    @property
    def paid(self) -> int:
        """Sum of its receipts, token units."""
        return sum(receipt.amount for receipt, _ in self.receipts)

    @property
    def owed_at_most(self) -> int:
        """Paid, or all that its order allows.

        A provider that vanished may have gone on for a while, and delivers and bills that when
        it is back.
        """
        return self.paid if self.is_settled else self.order.amount_max


class Answer:
    """An answer as it comes in.

    ``async with client.chat(…) as answer: async for text in answer: …``. Leaving the block
    early cancels the job and pays for what was delivered.

    Attributes:
        text: Everything received.
        parts: Who contributed what, in order.
        finish: Why it ended; None while it runs.
        attempts: Providers that could not serve or go on, and why.
    """

    def __init__(self, client: Client, request: Request) -> None:
        self._client = client
        self._request = request
        self._chunks: list[str] = []
        self._current: tuple[Account, Inbox, Part] | None = None
        self._iterator: AsyncIterator[str] | None = None
        self.parts: list[Part] = []
        self.finish: Finish | None = None
        self.attempts: list[Rejection] = []
        self._advised: Refused | None = None
        # The present order's deadline by a clock that nobody sets.
        self._until_s = math.inf
        # Who said when to ask again, and when that is on the run's clock.
        self._provider_to_again: dict[bytes, float] = {}
        # How long to wait for them, since the last text; None before the first wait.
        self._patient_until: float | None = None

    # --- what a developer reads

    @property
    def text(self) -> str:
        """Everything received so far."""
        return "".join(self._chunks)

    @property
    def is_running(self) -> bool:
        """Whether a provider is at work on it."""
        return self._current is not None

    @property
    def cost(self) -> int:
        """Paid so far, token units."""
        return sum(part.paid for part in self.parts)

    @property
    def output_units(self) -> int:
        """Received so far."""
        return sum(part.output_units for part in self.parts)

    @property
    def receipt(self) -> Receipt | None:
        """The last receipt."""
        return next((p.receipts[-1][0] for p in reversed(self.parts) if p.receipts), None)

    async def read(self) -> str:
        """Waits for the end and returns the whole text."""
        async for _ in self:
            pass
        return self.text

    # --- iteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._current is not None:
            await self.cancel()

    def __aiter__(self) -> AsyncIterator[str]:
        if self._iterator is None:
            self._iterator = _Texts(self)
        return self._iterator

    async def cancel(self) -> None:
        """Stops the job and waits a moment for its last receipt. What came in is paid for."""
        if self._current is None:
            return
        account, inbox, part = self._current
        self._current = None
        with trio.move_on_after(self._client.settings.end_wait_s) as scope:
            scope.shield = True
            try:
                await account.cancel(part.order.job_id)
                while not self._take(part, await inbox.get())[1]:
                    pass
            except RowenError as error:
                self.attempts.append(Rejection(part.provider, str(error)))
        self.finish = Finish.CANCELLED

    async def _next_text(self) -> str | None:
        """The next text, or None at the end; changes provider when one cannot go on."""
        while self.finish is None:
            if self._current is None:
                self.finish = self._end_of_all()
                if self.finish is not None:
                    return None
                await self._start()
            assert self._current is not None
            _, inbox, part = self._current
            try:
                with trio.fail_at(self._until_s):
                    item = await inbox.get()
            except trio.TooSlowError as error:
                await self.cancel()
                raise Unavailable(
                    f"no answer within {self._client.settings.answer_s_max:g} s; "
                    "what came in is paid for"
                ) from error
            try:
                text, is_over = self._take(part, item)
            except RowenError as error:
                # This provider cannot go on; the next continues from the text we have.
                self._current = None
                self._failed(part.provider, error)
                continue
            if is_over:
                self._current = None
            if text:
                return text
        return None

    def _end_of_all(self) -> Finish | None:
        """Why nothing is left to order: the last provider vanished with all that was asked for."""
        ending = ITEM_ENDS.get(kind_of(self._request.input))
        if ending is not None:
            # An item is answered by one provider; what the last one began is asked for again.
            text = self.text
            self._chunks = [text[: text.rfind(ending) + 1]]
            if not self._items_left():
                return Finish.STOP
        return Finish.LENGTH if self.output_units >= self._request.max_output else None

    def _items_left(self) -> int:
        """Of a list, how many are not answered yet; else 1."""
        ending = ITEM_ENDS.get(kind_of(self._request.input))
        if ending is None:
            return 1
        return input_units_least(self._request.input) - self.text.count(ending)

    def _output_max(self, variant: Variant) -> int:
        """Most output units that an order may ask for now."""
        left = self._request.max_output - self.output_units
        return min(left, variant.output_units_max * self._items_left())

    def _take(self, part: Part, item: object) -> tuple[str, bool]:
        """Applies one item: new text, and whether the job is over."""
        if isinstance(item, Text):
            self._patient_until = None
            part.output_units += item.units
            self._chunks.append(item.text)
            return item.text, False
        if isinstance(item, Started):
            part.input_units = item.input_units
        elif isinstance(item, Billed):
            part.receipts.append((item.receipt, item.signed))
            if item.receipt.status is not Status.FAILED:
                # Of a list, input is read as its items are answered.
                part.input_units = item.receipt.input_units
        elif isinstance(item, Over):
            part.is_settled = True
            if item.finish in (Finish.FAILED, Finish.PREEMPTED):
                raise Unavailable(f"the provider ended the job: {item.finish} {item.detail}")
            self.finish = item.finish
            return "", True
        elif isinstance(item, Failed):
            part.is_settled = item.is_settled
            raise item.error
        return "", False

    # --- buying

    async def _start(self) -> None:
        """Orders the answer, or what is left of it; waits for who is busy when nobody is free.

        Raises:
            Unavailable: Nobody is left; the message says why each one is not.
            UserError: No money, or nothing left of the caps.
        """
        while True:
            try:
                await self._choose()
            except (Unavailable, UserError):
                if self._patient_until is None:
                    self._patient_until = trio.current_time() + self._client.settings.busy_wait_s
                again_at = min(self._provider_to_again.values(), default=math.inf)
                if again_at > self._patient_until:
                    raise
                await trio.sleep_until(again_at)
                self._forget_due()
            else:
                return

    def _failed(self, provider: bytes, error: RowenError) -> None:
        """Passes this provider over from now on, or until it said to be asked again."""
        self.attempts.append(Rejection(provider, str(error)))
        if not isinstance(error, Refused):
            return
        if error.reason in _ADVICE:
            self._advised = self._advised or error
        if error.retry_ms is not None:
            pause_s = max(AGAIN_S_MIN, error.retry_ms / 1000)
            self._provider_to_again[provider] = trio.current_time() + pause_s

    def _forget_due(self) -> None:
        """Forgets the refusals of those who can be asked again now."""
        now = trio.current_time()
        due = {provider for provider, at in self._provider_to_again.items() if at <= now}
        for provider in due:
            del self._provider_to_again[provider]
        self.attempts = [attempt for attempt in self.attempts if attempt.provider not in due]
        # What was delivered, billed or may still be is never forgotten: it counts against the caps.
        self.parts = [
            part
            for part in self.parts
            if part.receipts or part.output_units or not part.is_settled or part.provider not in due
        ]

    async def _choose(self) -> None:
        """Orders from the best provider not tried yet."""
        tried = frozenset(rejection.provider for rejection in self.attempts)
        chosen = self._request.preferences
        preferences = dataclasses.replace(chosen, ignore=chosen.ignore | tried)
        matches, rejections = await self._client.matches(preferences)
        no_money: UserError | None = None
        for match in matches:
            try:
                self._current = await self._order(match)
            except UserError as error:
                no_money = no_money or error
                rejections.append(Rejection(match.offer.provider, str(error)))
            except RowenError as error:
                self._failed(match.offer.provider, error)
            else:
                return
        nobody = _nobody(chosen.model, self.attempts, rejections)
        if not self.text:
            # With more money it would work, so that is what to say, whoever else was away.
            if no_money is not None:
                raise no_money if not self.attempts else UserError(f"{no_money}\n{nobody}")
            if self._advised is not None:
                raise UserError(
                    f"{_ADVICE[self._advised.reason]}: {self._advised.detail}\n{nobody}"
                )
        raise Unavailable(nobody)

    async def _order(self, match: Match) -> tuple[Account, Inbox, Part]:
        account = await self._client.account(match.offer.provider)
        job_input = _continued(self._request.input, self.text)
        encoded = encode_input(job_input)
        salt = self._client.entropy(32)
        bound = allowance_of(job_input).input_units_max[-1]
        await self._look_for_money(match.variant, account, bound)
        order = self._priced(match.variant, account, bound, input_hash(salt, encoded))
        part = Part(match.offer.provider, match.variant, order)
        self._until_s = trio.current_time() + self._client.settings.answer_s_max
        try:
            inbox = await account.order(order, salt, job_input, self._client.now_ms())
        finally:
            # Also when it failed on its way: the provider may have it all the same.
            if order.job_id in account.state.jobs:
                self.parts.append(part)
        return account, inbox, part

    async def _look_for_money(self, variant: Variant, account: Account, bound: int) -> None:
        """Asks the chain again when the channel is short: somebody may have topped it up."""
        output_max = self._output_max(variant)
        units_price = bound * variant.price_input + output_max * variant.price_output
        at_most = variant.price_request + units_price // PRICE_UNITS
        if account.state.free() >= min(at_most, self._request.max_cost):
            return
        try:
            await self._client.refresh(account)
        except Unavailable:
            # Then we go on with what we know; the provider asks the chain itself.
            return

    def _priced(self, variant: Variant, account: Account, bound: int, hashed: bytes) -> Order:
        spent = sum(part.owed_at_most for part in self.parts)
        output_max = self._output_max(variant)
        if output_max < 1:
            raise UserError("nothing is left of max_output")
        order = Order(
            channel_id=account.state.channel_id,
            job_id=self._client.entropy(32),
            variant=variant.id,
            input_hash=hashed,
            price_input=variant.price_input,
            price_cached=variant.price_cached,
            price_output=variant.price_output,
            price_request=variant.price_request,
            output_units_max=output_max,
            amount_max=0,
            deadline_ms=self._client.now_ms() + int(self._client.settings.answer_s_max * 1000),
        )
        # Never promise more than the job can cost.
        at_most = cost(order, Reading(bound, 0, output_max))
        left = self._request.max_cost - spent
        amount_max = min(at_most, left, account.state.free())
        order = replace(order, amount_max=max(0, amount_max))
        if output_units_affordable(order, input_units_least(self._request.input)) < 1:
            raise UserError(
                f"an answer may cost up to {at_most}; {max(0, left)} are left of max_cost and "
                f"{max(0, account.state.free())} in the channel: raise the one that is short"
            )
        return order


class _Texts:
    """Iterates over an answer. A class, because a cancelled async generator would be lost."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        text = await self._answer._next_text()
        if text is None:
            raise StopAsyncIteration
        return text


def _continued(job_input: JobInput, text: str) -> JobInput:
    """The input that makes another provider go on after this text."""
    if not text:
        return job_input
    if isinstance(job_input, CompletionInput):
        return replace(job_input, prompt=job_input.prompt + text)
    if isinstance(job_input, EmbeddingsInput):
        answered = text.count(ITEM_ENDS[Kind.EMBEDDINGS])
        return replace(job_input, texts=job_input.texts[answered:])
    if isinstance(job_input, OcrInput):
        return replace(job_input, pages=job_input.pages[text.count(ITEM_ENDS[Kind.OCR]) :])
    turns = job_input.messages
    if turns[-1].role == "assistant":
        return replace(
            job_input, messages=(*turns[:-1], Message("assistant", turns[-1].content + text))
        )
    return replace(job_input, messages=(*turns, Message("assistant", text)))


def _nobody(model: str, attempts: list[Rejection], rejections: list[Rejection]) -> str:
    lines = [f"no provider can serve {model}:"]
    # Who was tried is passed over the second time; what it said then is the reason.
    tried = {rejection.provider for rejection in attempts}
    others = [rejection for rejection in rejections if rejection.provider not in tried]
    lines += [f"  {format_address(r.provider)}: {r.why}" for r in (*attempts, *others)]
    if len(lines) == 1:
        lines.append("  no provider is known: name one with --provider")
    return "\n".join(lines)
