"""The escrow read through JSON-RPC, from one endpoint or from several that must agree.

One endpoint can lie about balances and logs (threat 39). With two or more, whatever is read
is read from all at the same height, and a difference is an error and never a choice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self, TypeVar

import trio

from rowen.chain.authorizations import PERMIT2, TokenFacts
from rowen.chain.base import BlockRef, Deployment
from rowen.chain.calls import escrow as calls
from rowen.chain.calls import token as token_calls
from rowen.chain.codec import Call
from rowen.chain.contract import artifact, decode_event
from rowen.chain.events import Event
from rowen.chain.rpc import Rpc, RpcError, from_hex, quantity, to_hex
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.ids import format_address

T = TypeVar("T")

EMPTY: Final = ChannelView(locked=0, claimed=0)


class Disagreement(Unavailable):
    """Endpoints tell different things of one chain: one of them lies, or lags."""


class RpcEscrow:
    """An escrow behind endpoints. Make one with ``connect``; see ``Escrow`` for the methods.

    Attributes:
        endpoints: All of them; the first is the one that transactions go through.
        deployment: The escrow's constants.
    """

    def __init__(self, endpoints: Sequence[Rpc], deployment: Deployment) -> None:
        self.endpoints = tuple(endpoints)
        self.deployment = deployment

    @classmethod
    async def connect(cls, endpoints: Sequence[Rpc], *, chain_id: int, escrow: bytes) -> Self:
        """Checks that every endpoint shows our contract on the right chain.

        Raises:
            UserError: Another chain, no contract at the address, or another contract.
            Unavailable: An endpoint does not answer, or they disagree.
        """
        await cls.require_chain(endpoints, chain_id)
        for rpc in endpoints:
            await _check(rpc, chain_id, escrow)
        trial = cls(endpoints, Deployment(
            domain=Domain(chain_id, escrow), token=b"", unlock_delay_s=0, payout_delay_s=0,
            min_lock=0,
        ))  # fmt: skip
        height = await trial._height()
        return cls(
            endpoints,
            Deployment(
                domain=Domain(chain_id, escrow),
                token=await trial.view(calls.token(), at=height),
                unlock_delay_s=await trial.view(calls.unlock_delay(), at=height),
                payout_delay_s=await trial.view(calls.payout_delay(), at=height),
                min_lock=await trial.view(calls.min_lock(), at=height),
            ),
        )

    @staticmethod
    async def require_chain(endpoints: Sequence[Rpc], chain_id: int) -> None:
        """Checks that every endpoint is on the chain.

        Raises:
            UserError: One is on another.
            Unavailable: One does not answer.
        """
        for rpc in endpoints:
            answer = await rpc.call("eth_chainId")
            with rpc.reading("eth_chainId"):
                actual = quantity(answer)
            if actual != chain_id:
                raise UserError(
                    f"{rpc.endpoint} is on chain {actual}, expected {chain_id}:"
                    " correct chain.rpc or chain.chain_id"
                )

    async def head(self) -> BlockRef:
        """See ``Escrow``. The newest block that all endpoints know."""
        height = await self._height()
        found = await self.blocks(height, height)
        if not found:
            raise Unavailable(f"the endpoints do not show block {height}, their newest")
        return found[0]

    async def blocks(self, first: int, last: int) -> list[BlockRef]:
        """See ``Escrow``."""
        calls: list[tuple[str, tuple[object, ...]]] = [
            ("eth_getBlockByNumber", (hex(height), False))
            for height in range(max(first, 0), last + 1)
        ]

        async def read(rpc: Rpc) -> list[BlockRef]:
            answers = await rpc.batch(calls)
            with rpc.reading("eth_getBlockByNumber"):
                return [read_block(answer) for answer in answers if answer is not None]

        return await self._agreed(read, "blocks")

    async def events(self, blocks: Sequence[BlockRef]) -> list[Event]:
        """See ``Escrow``."""
        # By hash: asked for a range, an endpoint that lags behind answers with fewer logs
        # and no error.
        address = to_hex(self.deployment.domain.escrow)
        calls: list[tuple[str, tuple[object, ...]]] = [
            ("eth_getLogs", ({"blockHash": to_hex(block.hash), "address": address},))
            for block in blocks
        ]

        async def read(rpc: Rpc) -> list[Event]:
            answers = await rpc.batch(calls)
            with rpc.reading("eth_getLogs"):
                return [
                    event
                    for block, logs in zip(blocks, answers, strict=True)
                    for event in map(read_log, _logs_of(block, logs, address))
                    if event is not None
                ]

        events = await self._agreed(read, "events")
        await self._require_canonical(blocks)
        return events

    async def channel(self, channel_id: bytes, *, confirmations: int) -> ChannelView:
        """See ``Escrow``."""
        (view,) = await self.channels([channel_id], confirmations=confirmations)
        return view

    async def channels(
        self, channel_ids: Sequence[bytes], *, confirmations: int
    ) -> list[ChannelView]:
        """See ``Escrow``."""
        height = await self._height() - confirmations
        if height < 0 or not channel_ids:
            return [EMPTY] * len(channel_ids)
        to = to_hex(self.deployment.domain.escrow)
        questions: list[tuple[str, tuple[object, ...]]] = [
            ("eth_call", ({"to": to, "data": to_hex(calls.channels(each).data)}, hex(height)))
            for each in channel_ids
        ]

        async def read(rpc: Rpc) -> list[ChannelView]:
            answers = await rpc.batch(questions)
            with rpc.reading("channels"):
                return [_read_channel(from_hex(answer)) for answer in answers]

        named = ", ".join(f"0x{each.hex()}" for each in channel_ids[:3])
        return await self._agreed(read, f"channel {named}{', …' if channel_ids[3:] else ''}")

    async def credit(self, provider: bytes) -> int:
        """See ``Escrow``."""
        return await self.view(calls.credit_of(provider))

    async def payout(self, provider: bytes) -> bytes:
        """See ``Escrow``."""
        return await self.view(calls.payout_of(provider))

    async def pending_payout(self, provider: bytes) -> tuple[bytes, int]:
        """See ``Escrow``."""
        return await self.view(calls.pending_payout_of(provider))

    async def token_balance(self, address: bytes) -> int:
        """See ``Escrow``."""
        return await self.view(token_calls.balance_of(address), to=self.deployment.token)

    async def token_facts(self, owner: bytes) -> TokenFacts:
        """See ``Escrow``."""
        token = self.deployment.token
        separator = await self.maybe(token_calls.domain_separator(), to=token)
        nonce = await self.maybe(token_calls.nonces(owner), to=token)
        state = await self.maybe(token_calls.authorization_state(owner, bytes(32)), to=token)
        permit2 = await self.code(PERMIT2)
        spenders = (self.deployment.domain.escrow, PERMIT2)
        allowances = [
            await self.view(token_calls.allowance(owner, spender), to=token) for spender in spenders
        ]
        return TokenFacts(
            domain_separator=separator,
            name=await self.maybe(token_calls.name(), to=token) or "",
            version=await self.maybe(token_calls.version(), to=token) or "",
            permit_nonce=None if separator is None else nonce,
            takes_authorizations=separator is not None and state is not None,
            allowance=allowances[0],
            permit2_allowance=allowances[1] if permit2 else None,
        )

    async def balance_wei(self, address: bytes) -> int:
        """See ``Escrow``."""
        height = await self._height()

        async def read(rpc: Rpc) -> int:
            answer = await rpc.call("eth_getBalance", to_hex(address), hex(height))
            with rpc.reading("eth_getBalance"):
                return quantity(answer)

        return await self._agreed(read, "eth_getBalance")

    async def _height(self) -> int:
        async def read(rpc: Rpc) -> int:
            answer = await rpc.call("eth_blockNumber")
            with rpc.reading("eth_blockNumber"):
                return quantity(answer)

        return min(await self._from_all(read))

    async def code(self, address: bytes) -> bytes:
        """The code at an address now; b"" if there is none."""
        height = await self._height()

        async def read(rpc: Rpc) -> bytes:
            answer = await rpc.call("eth_getCode", to_hex(address), hex(height))
            with rpc.reading("eth_getCode"):
                return from_hex(answer)

        return await self._agreed(read, "eth_getCode")

    async def view(self, call: Call[T], *, to: bytes | None = None, at: int | None = None) -> T:
        """What a function of the escrow, or of ``to``, returns now, or at a height.

        Raises:
            RpcError: The call reverts.
            Unavailable: The chain cannot be asked, or endpoints disagree.
        """
        height = await self._height() if at is None else at

        async def read(rpc: Rpc) -> T:
            raw = await self._eth_call(rpc, to or self.deployment.domain.escrow, call.data, height)
            with rpc.reading(call.name):
                return call.read(raw)

        return await self._agreed(read, call.name)

    async def maybe(self, call: Call[T], *, to: bytes) -> T | None:
        """What a contract returns, or None when it knows no such function.

        Raises:
            Unavailable: The chain cannot be asked, or endpoints disagree.
        """
        height = await self._height()

        async def read(rpc: Rpc) -> T | None:
            try:
                raw = await self._eth_call(rpc, to, call.data, height)
                return call.read(raw)
            except RpcError as error:
                if not error.data and "revert" not in error.reason:
                    raise
                return None
            except ValueError:
                return None

        return await self._agreed(read, call.name)

    @staticmethod
    async def _eth_call(rpc: Rpc, to: bytes, call: bytes, height: int) -> bytes:
        answer = await rpc.call("eth_call", {"to": to_hex(to), "data": to_hex(call)}, hex(height))
        with rpc.reading("eth_call"):
            return from_hex(answer)

    async def _require_canonical(self, blocks: Sequence[BlockRef]) -> None:
        """An endpoint may still show logs of a block that a reorganisation replaced."""
        tops = [
            block
            for block, above in zip(blocks, [*blocks[1:], None], strict=True)
            if above is None or above.parent_hash != block.hash
        ]
        for block in tops:
            found = await self.blocks(block.number, block.number)
            if found != [block]:
                raise Unavailable(f"block {block.number} 0x{block.hash.hex()} is not canonical")

    async def _agreed(self, read: Callable[[Rpc], Awaitable[T]], what: str) -> T:
        answers = await self._from_all(read)
        for rpc, answer in zip(self.endpoints, answers, strict=True):
            if answer != answers[0]:
                raise Disagreement(
                    f"{self.endpoints[0].endpoint} and {rpc.endpoint} disagree about {what}:"
                    f" {answers[0]!r:.200} and {answer!r:.200}"
                )
        return answers[0]

    async def _from_all(self, read: Callable[[Rpc], Awaitable[T]]) -> list[T]:
        """What each endpoint says, asked at the same time."""
        if len(self.endpoints) == 1:
            return [await read(self.endpoints[0])]
        answers: dict[int, T] = {}
        failures: list[Unavailable] = []

        async def ask(position: int, rpc: Rpc) -> None:
            try:
                answers[position] = await read(rpc)
            except Unavailable as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for position, rpc in enumerate(self.endpoints):
                nursery.start_soon(ask, position, rpc)
        if failures:
            raise failures[0]
        return [answers[position] for position in range(len(self.endpoints))]


async def _check(rpc: Rpc, chain_id: int, escrow: bytes) -> None:
    answer = await rpc.call("eth_getCode", to_hex(escrow), "latest")
    with rpc.reading("eth_getCode"):
        code = from_hex(answer)
    where = f"{format_address(escrow)} on chain {chain_id}"
    if not code:
        raise UserError(f"there is no contract at {where}: correct chain.escrow")
    if not artifact("RowenEscrow").matches(code):
        raise UserError(
            f"the contract at {where} is not this version's RowenEscrow: correct chain.escrow,"
            " or install the version of Rowen that belongs to it"
        )


def _read_channel(raw: bytes) -> ChannelView:
    if not raw:  # the escrow was deployed later
        return EMPTY
    if len(raw) != 96:
        raise ValueError(f"{len(raw)} bytes, expected 96")
    locked, claimed, unlock_at_s = (int.from_bytes(raw[i : i + 32], "big") for i in (0, 32, 64))
    return ChannelView(locked=locked, claimed=claimed, unlock_at_s=unlock_at_s)


def read_block(answer: Any) -> BlockRef:
    """A block as JSON-RPC gives it.

    Raises:
        ValueError, TypeError, KeyError: It is none.
    """
    return BlockRef(
        number=quantity(answer["number"]),
        hash=from_hex(answer["hash"], 32),
        parent_hash=from_hex(answer["parentHash"], 32),
        timestamp_s=quantity(answer["timestamp"]),
    )


def read_log(log: Any, decode: Callable[..., Event | None] = decode_event) -> Event | None:
    """A log as JSON-RPC gives it; None if it is no event of the contract's.

    Raises:
        ValueError, TypeError, KeyError: It is none.
    """
    return decode(
        [bytes.fromhex(topic[2:]) for topic in log["topics"]],
        bytes.fromhex(log["data"][2:]),
        block=int(log["blockNumber"], 16),
        index=int(log["logIndex"], 16),
        tx_hash=bytes.fromhex(log["transactionHash"][2:]),
    )


def _logs_of(block: BlockRef, logs: Any, address: str) -> list[Any]:
    for log in logs:
        if log["blockHash"] != to_hex(block.hash) or log["address"].lower() != address:
            raise ValueError(f"a log of block {log['blockHash']!r:.80} at {log['address']!r:.80}")
    return sorted(logs, key=lambda log: int(log["logIndex"], 16))
