"""One answer, bought from one provider or, when that one fails, continued by the next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio
from msgspec.structs import replace

from rowen.client.account import Account
from rowen.client.inbox import Billed, Failed, Inbox, Over, Started, Text
from rowen.client.parts import Part, Request
from rowen.client.refusals import Refusals
from rowen.client.remainder import is_list, items_left, remainder, whole_items
from rowen.protocol.admission import input_hash
from rowen.protocol.errors import RowenError, Unavailable, UserError
from rowen.protocol.jobs import Finish
from rowen.protocol.messages import encode_input
from rowen.protocol.metering import PRICE_UNITS, Reading, cost, output_units_affordable
from rowen.protocol.statements import Order, Receipt, Status
from rowen.protocol.units import allowance_of, input_units_least
from rowen_scheduler.market import Variant
from rowen_scheduler.selection import Match, Rejection

if TYPE_CHECKING:
    from rowen.client.client import Client


class Answer:
    """An answer as it comes in.

    ``async with client.chat(…) as answer: async for text in answer: …``. Leaving the block
    early cancels the job and pays for what was delivered.

    Attributes:
        text: Everything received.
        parts: Who contributed what, in order.
        finish: Why it ended; None while it runs.
    """

    def __init__(self, client: Client, request: Request) -> None:
        self._client = client
        self._request = request
        self._chunks: list[str] = []
        self._current: tuple[Account, Inbox, Part] | None = None
        self._iterator: AsyncIterator[str] | None = None
        self.parts: list[Part] = []
        self.finish: Finish | None = None
        self._refusals = Refusals()
        # The present order's deadline by a clock that nobody sets.
        self._until_s = math.inf
        # How long to wait for who is busy, since the last text; None before the first wait.
        self._patient_until_s: float | None = None

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
    def attempts(self) -> list[Rejection]:
        """Providers that could not serve or go on, and why."""
        return self._refusals.all

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
                self._refusals.add(part.provider, error, trio.current_time())
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
                self._refusals.add(part.provider, error, trio.current_time())
                continue
            if is_over:
                self._current = None
            if text:
                return text
        return None

    def _end_of_all(self) -> Finish | None:
        """Why nothing is left to order: the last provider vanished with all that was asked for."""
        if is_list(self._request.input):
            self._chunks = [whole_items(self._request.input, self.text)]
            if not items_left(self._request.input, self.text):
                return Finish.STOP
        return Finish.LENGTH if self.output_units >= self._request.max_output else None

    def _output_max(self, variant: Variant) -> int:
        """Most output units that an order may ask for now."""
        left = self._request.max_output - self.output_units
        return min(left, variant.output_units_max * items_left(self._request.input, self.text))

    def _take(self, part: Part, item: object) -> tuple[str, bool]:
        """Applies one item: new text, and whether the job is over."""
        if isinstance(item, Text):
            self._patient_until_s = None
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
                if self._patient_until_s is None:
                    patience_s = self._client.settings.busy_wait_s
                    self._patient_until_s = trio.current_time() + patience_s
                if self._refusals.again_s > self._patient_until_s:
                    raise
                await trio.sleep_until(self._refusals.again_s)
                self._forget_due()
            else:
                return

    def _forget_due(self) -> None:
        """Forgets the refusals of those who can be asked again now."""
        due = self._refusals.forget_due(trio.current_time())
        # What was delivered, billed or may still be is never forgotten: it counts against the caps.
        self.parts = [part for part in self.parts if not (part.is_blank and part.provider in due)]

    async def _choose(self) -> None:
        """Orders from the best provider not tried yet."""
        chosen = self._request.preferences
        ignored = chosen.ignore | self._refusals.providers
        preferences = dataclasses.replace(chosen, ignore=ignored)
        matches, rejections = await self._client.matches(preferences)
        no_money: UserError | None = None
        for match in matches:
            try:
                self._current = await self._order(match)
            except UserError as error:
                no_money = no_money or error
                rejections.append(Rejection(match.offer.provider, str(error)))
            except RowenError as error:
                self._refusals.add(match.offer.provider, error, trio.current_time())
            else:
                return
        raise self._refusals.nobody(chosen.model, rejections, no_money, is_begun=bool(self.text))

    async def _order(self, match: Match) -> tuple[Account, Inbox, Part]:
        account = await self._client.account(match.offer.provider)
        job_input = remainder(self._request.input, self.text)
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
