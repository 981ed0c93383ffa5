"""The SDK as a developer uses it, against a real provider node, network, disk and chain."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from rowen import AsyncClient, Client
from rowen.chain.devnet import open_devnet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.keystore import create_key
from rowen.config import ChainConfig, ClientConfig, Config
from rowen.home import Home
from rowen.p2p.host import open_network
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import CompletionInput, Finish, Kind
from rowen.protocol.signing import Key
from rowen.provider.node import Provider
from rowen.provider.settings import Prices, ProviderSettings
from rowen.provider.stock import Ware
from rowen.provider.till import now_ms
from rowen.store.journal import open_journal
from rowen.testing.engine import (
    SCRIPTED,
    VECTOR_NUMBERS,
    ScriptedEngine,
    scripted_vector,
    seeded_answer,
)

PASSWORD = "correct horse"
LIGHT_SCRYPT = 2
VECTORS = replace(SCRIPTED, kinds=(Kind.EMBEDDINGS,), item_units_max=VECTOR_NUMBERS)


@dataclass
class Market:
    """A provider that serves, and the home of a client that can pay it."""

    home: Home
    config: Config
    provider: bytes


@asynccontextmanager
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        devnet = await stack.enter_async_context(open_devnet())
        home = Home(tmp_path / "home")
        keys = {
            name: await create_key(path, PASSWORD, scrypt_n=LIGHT_SCRYPT)
            for name, path in (("session", home.session_key), ("wallet", home.wallet_key))
        }
        await devnet.mint(keys["wallet"].address, 10**9)
        await devnet.set_balance_wei(keys["wallet"].address, 10**18)
        operator = Key(b"\x31" * 32)
        network = await stack.enter_async_context(
            open_network(operator.secret, listen=["/ip4/127.0.0.1/tcp/0"])
        )
        journal = await stack.enter_async_context(open_journal(tmp_path / "seller.db", b"s" * 32))
        escrow = await RpcEscrow.connect(
            [devnet.rpc],
            chain_id=devnet.deployment.domain.chain_id,
            escrow=devnet.deployment.domain.escrow,
        )
        node = Provider(
            key=operator,
            domain=escrow.deployment.domain,
            network=network,
            escrow=escrow,
            journal=journal,
            wares=(
                Ware(
                    engine=ScriptedEngine(delay_s=0.005),
                    prices=Prices(input=500_000, cached=0, output=2_000_000),
                ),
                Ware(
                    engine=ScriptedEngine(info=VECTORS, delay_s=0.005),
                    prices=Prices(input=500_000, cached=0, output=0),
                ),
            ),
            settings=ProviderSettings(confirmations=0),
            now_ms=now_ms,
        )
        await node.start()
        config = Config(
            chain=ChainConfig(
                rpc=(devnet.url,),
                chain_id=devnet.deployment.domain.chain_id,
                escrow="0x" + devnet.deployment.domain.escrow.hex(),
                confirmations=0,
            ),
            client=ClientConfig(providers=network.addresses),
        )
        yield Market(home, config, operator.address)


async def test_an_answer_streams_and_is_paid_for(tmp_path: Path) -> None:
    async with (
        market(tmp_path) as m,
        AsyncClient(m.home.path, password=PASSWORD, config=m.config) as client,
    ):
        await client.buyer.open_channel(m.provider, 1_000_000)
        # What cannot be ordered leaves nothing behind that later orders would trip over.
        for absurd in ({"seed": 2**32}, {"temperature": 3}, {"stop": [""]}):
            with pytest.raises(UserError, match="malformed"):
                client.chat("hello", model=SCRIPTED.model, **absurd)
        # A whole number where a float stands in the signature is what most people write.
        asked = client.chat("hello", model=SCRIPTED.model, max_cost="0.01", temperature=0)
        async with asked as answer:
            texts = [text async for text in answer]
        assert len(texts) > 1
        assert "".join(texts) == answer.text
        assert answer.finish is Finish.STOP
        assert answer.receipt is not None
        assert answer.receipt.total == answer.cost > 0
        (channel,) = await client.buyer.channels()
        assert (channel.owed, channel.locked) == (answer.cost, 1_000_000)


async def test_a_program_without_trio_buys_through_the_same_client(tmp_path: Path) -> None:
    """``Client`` runs in a thread of its own; leaving an answer early cancels and pays for it."""

    def program(m: Market) -> tuple[str, int, Finish | None]:
        with Client(m.home.path, password=PASSWORD, config=m.config) as client:
            offers, silent = client.offers()
            assert [o.provider for o in offers] == [m.provider]
            assert silent == []
            whole = client.chat([{"role": "user", "content": "hello"}], model=SCRIPTED.model).read()
            assert whole
            completed = client.complete("hello", model=SCRIPTED.model, max_output=5)
            assert (
                completed.read() == seeded_answer(CompletionInput("hello"))[: len(completed.text)]
            )
            assert completed.receipt is not None
            vectors = client.embed(["a", "b c"], model=SCRIPTED.model)
            assert [list(v) for v in vectors.read()] == [scripted_vector(t) for t in ("a", "b c")]
            assert (vectors.cost, vectors.finish) == (2, Finish.STOP)
            assert vectors.receipt is not None
            assert vectors.parts[0].input_units == vectors.receipt.input_units == 3
            with client.embed(["a", "b", "c"], model=SCRIPTED.model) as some:
                assert list(next(iter(some))) == scripted_vector("a")
            assert some.finish is Finish.CANCELLED
            assert completed.receipt.output_units == 5
            with client.chat("hello again", model=SCRIPTED.model) as answer:
                for _ in answer:
                    break
            return answer.text, answer.cost, answer.finish

    async with market(tmp_path) as m:
        async with AsyncClient(m.home.path, password=PASSWORD, config=m.config) as client:
            await client.buyer.open_channel(m.provider, 1_000_000)
        text, cost, finish = await trio.to_thread.run_sync(program, m)
        assert text
        assert cost > 0
        assert finish is Finish.CANCELLED


async def test_no_channel_and_a_bad_message_are_said_with_what_to_do(tmp_path: Path) -> None:
    async with (
        market(tmp_path) as m,
        AsyncClient(m.home.path, password=PASSWORD, config=m.config) as client,
    ):
        with pytest.raises(UserError, match="rowen channel open 0x"):
            await client.chat("hello", model=SCRIPTED.model).read()
        with pytest.raises(UserError, match="role"):
            client.chat([{"role": "robot", "content": "x"}], model=SCRIPTED.model)
        with pytest.raises(UserError, match="not an amount of dollars"):
            client.chat("x", model=SCRIPTED.model, max_cost="a lot")
        with pytest.raises(Unavailable, match="does not sell nothing"):
            await client.chat("x", model="nothing").read()


async def test_an_answer_that_outlives_its_client_says_so(tmp_path: Path) -> None:
    """Whether the client is closed already or by another thread at this moment."""

    def program(m: Market) -> None:
        with Client(m.home.path, password=PASSWORD, config=m.config) as client:
            begun = client.chat("hello", model=SCRIPTED.model)
            next(iter(begun))
            fresh = client.chat("hello", model=SCRIPTED.model)
            # A question that waits when the client closes under it, as from another thread.
            waits = threading.Thread(target=asks_for_ever)
            waiting.append(client)
            waits.start()
            started.wait()
        waits.join()
        assert failed == ["the client was closed: use it inside `with`"]
        for answer in (begun, fresh):
            with pytest.raises(UserError, match="inside `with`"), answer:
                answer.read()

    failed: list[str] = []
    started = threading.Event()
    waiting: list[Client] = []

    async def never() -> None:
        started.set()
        await trio.sleep_forever()

    def asks_for_ever() -> None:
        try:
            waiting[0]._call(never)
        except UserError as error:
            failed.append(str(error))

    async with market(tmp_path) as m:
        async with AsyncClient(m.home.path, password=PASSWORD, config=m.config) as client:
            await client.buyer.open_channel(m.provider, 1_000_000)
        await trio.to_thread.run_sync(program, m)


def test_a_client_used_outside_with_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="inside `with`"):
        Client(tmp_path).chat("x", model="y")


def test_a_client_that_cannot_start_raises_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rowen init"), Client(tmp_path, password="x"):
        raise AssertionError("never entered")
