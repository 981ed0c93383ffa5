"""A client that says exactly what a test wants, to a real provider of a simulation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec.structs import replace

from rowen.p2p.session import Session, open_session
from rowen.protocol import messages
from rowen.protocol.admission import input_hash
from rowen.protocol.eip712 import Domain
from rowen.protocol.jobs import ChatInput, JobInput, Message
from rowen.protocol.messages import FromProvider, Signed, encode, open_signed, seal
from rowen.protocol.receipt_log import Frontier
from rowen.protocol.statements import Order, Receipt, Voucher
from rowen.testing.simulator import PATIENCE, SimClient, SimProvider, Simulation

SALT = b"salt" * 8


class Talk:
    """One session, spoken by hand."""

    def __init__(
        self, world: Simulation, client: SimClient, provider: SimProvider, session: Session
    ) -> None:
        self.world = world
        self.client = client
        self.provider = provider
        self.session = session
        self.channel = client.channel_with(provider)
        self.domain: Domain = world.escrow.deployment.domain
        self.log = Frontier()
        self.total = 0

    async def say(self, message: messages.FromClient) -> None:
        await self.session.send(encode(message))

    async def hear(self) -> FromProvider | None:
        raw = await self.session.receive()
        return None if raw is None else messages.decode_from_provider(raw)

    async def hear_until(self, kind: type[Any]) -> Any:
        """The next message of a kind; those before it are passed over."""
        while True:
            said = await self.hear()
            assert said is not None, f"the provider left before {kind.__name__}"
            if isinstance(said, kind):
                return said

    async def attach(self, **changes: Any) -> None:
        await self.say(
            replace(
                messages.Attach(
                    self.domain.chain_id, self.domain.escrow, self.channel.payer, self.log.count
                ),
                **changes,
            )
        )

    def order(
        self, text: str = "hello", job_input: JobInput | None = None, **changes: Any
    ) -> tuple[Order, bytes]:
        """An order at the offered prices and its encoded input: a chat unless told else."""
        assert self.provider.node is not None
        variant = next(iter(self.provider.node.terms.variants.values()))
        encoded = messages.encode_input(job_input or ChatInput((Message("user", text),)))
        order = Order(
            channel_id=self.channel.id,
            job_id=self.world.rng.randbytes(32),
            variant=variant.id,
            input_hash=input_hash(SALT, encoded),
            price_input=variant.price_input,
            price_cached=variant.price_cached,
            price_output=variant.price_output,
            price_request=variant.price_request,
            output_units_max=200,
            amount_max=5_000,
            deadline_ms=self.world.now_ms() + 60_000,
        )
        return replace(order, **changes), encoded

    async def submit(self, order: Order, encoded: bytes, domain: Domain | None = None) -> None:
        signed = seal(order, domain or self.domain, self.client.key)
        await self.say(messages.Submit(signed, SALT, encoded))

    def take(self, bill: messages.Bill) -> Receipt:
        """Appends a receipt to the log that the next voucher is for."""
        opened = open_signed(bill.receipt, Receipt, self.domain)
        self.log = self.log.append(opened.digest)
        self.total += opened.statement.amount
        return opened.statement

    def voucher(self, domain: Domain | None = None, **changes: Any) -> Signed:
        """What the log as it stands is worth, signed."""
        voucher = Voucher(
            payer=self.channel.payer,
            provider=self.channel.provider,
            total=self.total,
            receipt_count=self.log.count,
            receipts_root=self.log.root(),
        )
        return seal(replace(voucher, **changes), domain or self.domain, self.client.key)


@asynccontextmanager
async def talk(world: Simulation, client: SimClient, provider: SimProvider) -> AsyncIterator[Talk]:
    """A greeted session under the client's own key; the client itself must be dead."""
    stream = await client.network.dial(provider.network.addresses[0])
    async with open_session(stream, PATIENCE) as session:
        hand = Talk(world, client, provider, session)
        assert isinstance(await hand.hear(), messages.Hello)
        with trio.fail_after(600):
            yield hand
