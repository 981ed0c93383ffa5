"""A market in one process: real provider and client code on a fake network, chain and disk.

Everything random comes from one seed and time is trio's mock clock, so a run that fails is
repeated by its seed. A killed node loses what its disk had not committed, and nothing else.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import trio
from trio._core import _run as scheduler

from rowen.chain.base import ChannelKey
from rowen.client.client import Client, ClientSettings, open_client
from rowen.engine.base import Engine
from rowen.p2p.network import Network
from rowen.p2p.session import Patience
from rowen.protocol.errors import Unavailable
from rowen.protocol.signing import Key
from rowen.provider.metering import Meters
from rowen.provider.node import Provider
from rowen.provider.price_list import Plan, fixed
from rowen.provider.settings import Prices, ProviderSettings
from rowen.provider.settlement import Claimer, Settlement
from rowen.provider.stock import Ware
from rowen.testing.chain import FakeChain, FakeEscrow, FakeWallet
from rowen.testing.engine import ScriptedEngine
from rowen.testing.network import MemoryHub, MemoryNetwork
from rowen.testing.store import FakeDisk, FakeJournal, open_fake_journal

START_MS = 1_700_000_000_000
CONFIRMATIONS = 2
FUNDS = 10_000_000_000

PATIENCE = Patience(heartbeat_s=2.0, silence_s=8.0, stall_s=6.0)
PRICES = Prices(input=500_000, cached=100_000, output=2_000_000)


class SimNode(ABC):
    """What providers and clients of a simulation share: a key, a disk, and lives.

    Attributes:
        key: Identity.
        disk: Survives every life.
        network: Its place in the hub.
        clock_ahead_ms: How far its wall clock is ahead of the world's; behind where negative.
    """

    def __init__(self, simulation: Simulation, key: Key) -> None:
        self.key = key
        self.clock_ahead_ms = 0
        self.disk = FakeDisk()
        self.network: MemoryNetwork = simulation.hub.network(key.secret)
        self._simulation = simulation
        self._scope: trio.CancelScope | None = None
        self._gone = trio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._scope is not None

    def now_ms(self) -> int:
        """Its wall clock."""
        return self._simulation.now_ms() + self.clock_ahead_ms

    async def start(self) -> None:
        """Begins a life on what the disk kept; returns when the node is ready."""
        assert not self.is_alive
        ready = trio.Event()
        self._gone = trio.Event()
        self._simulation.nursery.start_soon(self._live, ready)
        await ready.wait()

    async def kill(self) -> None:
        """Ends the process as ``kill -9`` does."""
        if self._scope is None:
            return
        # First the disk and the wire, so that no clean-up code of the dead can use them.
        self.disk.crash()
        self.network.kill()
        self._scope.cancel()
        await self._gone.wait()

    async def _live(self, ready: trio.Event) -> None:
        try:
            with trio.CancelScope() as self._scope:
                async with open_fake_journal(self.disk) as journal:
                    await self._run(journal, ready)
        except* Unavailable:
            # Its journal failed; a real process would end here too.
            pass
        finally:
            self._scope = None
            ready.set()
            self._gone.set()

    @abstractmethod
    async def _run(self, journal: FakeJournal, ready: trio.Event) -> None:
        """One life, until it is cancelled; sets ``ready`` when the node is."""


class SimProvider(SimNode):
    """A provider.

    Attributes:
        engine: What it sells; swap it between lives to model an upgrade.
        settings: The owner's.
        prices: Of what it sells.
        plan: How they change; swap it between lives.
        meters: Of its jobs' energy; None when nothing is metered.
        node: The running provider, of the present or last life.
    """

    def __init__(
        self,
        simulation: Simulation,
        key: Key,
        engine: Engine,
        settings: ProviderSettings,
        prices: Prices = PRICES,
        meters: Meters | None = None,
    ) -> None:
        super().__init__(simulation, key)
        self.engine = engine
        self.settings = settings
        self.prices = prices
        self.plan: Plan = fixed
        self.meters = meters
        self.node: Provider | None = None

    async def _run(self, journal: FakeJournal, ready: trio.Event) -> None:
        simulation = self._simulation
        self.node = Provider(
            key=self.key,
            domain=simulation.escrow.deployment.domain,
            network=self.network,
            escrow=simulation.escrow,
            journal=journal,
            wares=(Ware(engine=self.engine, prices=self.prices),),
            settings=self.settings,
            now_ms=self.now_ms,
            patience=PATIENCE,
            plan=self.plan,
            meters=self.meters,
        )
        await self.node.start()
        ready.set()
        await self.node.run()

    async def settle(self) -> Settlement:
        """Claims everything, as the daemon would."""
        assert self.node is not None
        wallet = FakeWallet(self._simulation.escrow, self.key.address)
        claimer = Claimer(
            provider=self.key.address,
            domain=self._simulation.escrow.deployment.domain,
            journal=self.node.journal,
            escrow=self._simulation.escrow,
            wallet=wallet,
            now_ms=self.now_ms,
        )
        return await claimer.settle()


class SimClient(SimNode):
    """A client whose wallet funded a channel with every provider.

    Attributes:
        wallet: Who pays.
        client: Of the present life.
    """

    def __init__(self, simulation: Simulation, key: Key, wallet: Key) -> None:
        super().__init__(simulation, key)
        self.wallet = wallet
        self.client: Client | None = None

    def channel_with(self, provider: SimProvider) -> ChannelKey:
        """What names its channel with a provider."""
        return ChannelKey(self.wallet.address, provider.key.address, self.key.address)

    async def _run(self, journal: FakeJournal, ready: trio.Event) -> None:
        simulation = self._simulation
        network: Network = self.network
        providers = tuple(p.network.addresses[0] for p in simulation.providers)
        async with open_client(
            key=self.key,
            network=network,
            escrow=simulation.escrow,
            journal=journal,
            settings=ClientSettings(
                payer=self.wallet.address, providers=providers, confirmations=CONFIRMATIONS
            ),
            now_ms=self.now_ms,
            entropy=simulation.rng.randbytes,
            patience=PATIENCE,
        ) as self.client:
            ready.set()
            await trio.sleep_forever()


class Simulation:
    """The world. Use ``simulate``.

    Attributes:
        seed: Repeats the run.
        rng: The only source of randomness.
        hub: The network, with its weather.
        chain: The chain.
        escrow: The one endpoint of it that everybody asks.
        providers: In order of making.
        clients: In order of making.
        nursery: Where nodes live.
    """

    def __init__(self, seed: int, hub: MemoryHub, rng: random.Random, nursery: trio.Nursery):
        self.seed = seed
        self.rng = rng
        self.hub = hub
        self.chain = FakeChain()
        self.escrow = FakeEscrow(self.chain)
        self.providers: list[SimProvider] = []
        self.clients: list[SimClient] = []
        self.nursery = nursery

    def now_ms(self) -> int:
        """Virtual wall clock."""
        return START_MS + int(trio.current_time() * 1000)

    async def add_provider(
        self,
        engine: Engine | None = None,
        settings: ProviderSettings | None = None,
        prices: Prices = PRICES,
        meters: Meters | None = None,
    ) -> SimProvider:
        """A new provider, started."""
        provider = SimProvider(
            self,
            Key(self.rng.randbytes(32)),
            engine or ScriptedEngine(delay_s=0.02),
            settings or ProviderSettings(credit=400, confirmations=CONFIRMATIONS),
            prices,
            meters,
        )
        self.providers.append(provider)
        await provider.start()
        return provider

    async def add_client(self, funds: int = FUNDS) -> SimClient:
        """A new client, started, with this much locked for each provider there is."""
        client = SimClient(self, Key(self.rng.randbytes(32)), Key(self.rng.randbytes(32)))
        self.chain.mint(client.wallet.address, funds * max(1, len(self.providers)))
        wallet = FakeWallet(self.escrow, client.wallet.address)
        for provider in self.providers:
            intent = f"lock-{provider.key.peer_id}"
            await wallet.lock(provider.key.address, client.key.address, funds, intent=intent)
        self.chain.mine(CONFIRMATIONS)
        self.clients.append(client)
        await client.start()
        return client


@contextmanager
def _scheduled(seed: int) -> Iterator[None]:
    """Has trio choose from this seed which of the tasks that can go on goes first.

    It is the switch that trio has for Hypothesis; there is no public one.
    """
    state, is_seeded = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r.seed(seed)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc] # trio says Final
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = is_seeded  # type: ignore[misc] # as above
        scheduler._r.setstate(state)


@asynccontextmanager
async def simulate(seed: int) -> AsyncIterator[Simulation]:
    """A world of its own, from a seed; everything in it ends with the block."""
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        stack.enter_context(_scheduled(seed))
        hub = await stack.enter_async_context(MemoryHub(rng))
        nursery = await stack.enter_async_context(trio.open_nursery())
        try:
            yield Simulation(seed, hub, rng, nursery)
        except Exception as error:
            error.add_note(f"simulation seed: {seed}")
            raise
        finally:
            nursery.cancel_scope.cancel()
