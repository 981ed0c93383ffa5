"""What the demo plays on: a local chain, two provider processes, and a client with channels."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

import trio

from rowen.chain.devnet import Devnet, devnet_key, open_devnet
from rowen.chain.keystore import key_address
from rowen.cli.config_file import render
from rowen.cli.demo.process import ProviderProcess, node_environment
from rowen.cli.demo.screen import Screen
from rowen.cli.demo_document import DemoProvider
from rowen.cli.devnets import BLOCK_TIME_S, GAS_WEI, give
from rowen.cli.documents import ServingDocument
from rowen.cli.initialise import make_keys, write_password
from rowen.cli.payouts import request_payout
from rowen.cli.people import dollars, short
from rowen.client.buyer import Buyer, open_buyer
from rowen.client.client import Client
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import Unavailable
from rowen.protocol.ids import format_address

SETUP_S: Final = 180.0
DEPOSIT: Final = parse_usd("1")
WALLET: Final = parse_usd("10")
CREDIT_USD: Final = "0.00001"
"""A provider works this far ahead: some fifty tokens, so that an answer takes several receipts."""

# Name, and prices for a million input and output tokens; the first is asked first.
CAST: Final = (("alder", "0.05", "0.20"), ("birch", "0.06", "0.26"))
# Keys worth nothing need no second of scrypt each.
_SCRYPT_N: Final = 2**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the demo keeps things.

    Attributes:
        folder: Empty, for homes, logs and evidence.
        scratch: For temporary files of the nodes; short, because sockets lie there.
        models: Where the model is.
        is_kept: Whether the folder outlives the demo.
    """

    folder: Path
    scratch: Path
    models: Path
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Player:
    """A provider on the stage.

    Attributes:
        process: Its node.
        address: Its operator, 20 bytes.
        payout: Where its earnings go, 20 bytes; that key is on no node.
        shown: As the audience knows it.
    """

    process: ProviderProcess
    address: bytes
    payout: bytes
    shown: DemoProvider


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the acts need.

    Attributes:
        folder: Homes, logs and evidence.
        devnet: The chain.
        players: The providers, cheapest first.
        buyer: The client's keys and channels.
        model: Name in the offers.
        precision: On offer.
    """

    folder: Path
    devnet: Devnet
    players: tuple[Player, ...]
    buyer: Buyer
    model: str
    precision: str

    @property
    def client(self) -> Client:
        """Buys answers."""
        assert self.buyer.client is not None
        return self.buyer.client

    def player(self, address: bytes) -> Player:
        """The provider of that address."""
        return next(player for player in self.players if player.address == address)

    @contextmanager
    def limit(self, seconds: float, what: str) -> Iterator[None]:
        """Bounds an act; what is late is said together with what the providers logged."""
        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError as error:
            tails = "\n".join(player.process.log_tail() for player in self.players)
            raise Unavailable(f"{what} took over {seconds:g} s\n{tails}") from error


@asynccontextmanager
async def open_stage(places: Places, screen: Screen) -> AsyncIterator[Stage]:
    """Sets everything up, and takes it down however the block ends.

    Args:
        places: Where everything lies.
        screen: Told what stands.

    Raises:
        Unavailable: Something does not start in time; the message says why.
        UserError: Something is missing on this machine.
    """
    async with AsyncExitStack() as stack:
        with screen.waiting("starting a chain"), _timed() as took:
            devnet = await stack.enter_async_context(open_devnet(block_time_s=BLOCK_TIME_S))
        domain = devnet.deployment.domain
        where = f"{devnet.url}, chain {domain.chain_id}"
        screen.ready("chain", (where, f"escrow {format_address(domain.escrow)}"), took())
        with screen.waiting("starting two providers"), _timed() as took:
            cast = await _start_all(stack, places, devnet)
        players = tuple(player for player, _ in cast)
        screen.cast([player.shown for player in players])
        for player in players:
            screen.ready(player.process.name, _facts(player), took())
        with screen.waiting("opening two channels"), _timed() as took:
            home, password, config = await _make_client(places.folder, devnet, players)
            buyer = await stack.enter_async_context(open_buyer(home, config, password))
            await _open_channels(buyer, players)
        locked = [f"{dollars(DEPOSIT)} with {player.process.name}" for player in players]
        screen.ready("client", (f"locked {' and '.join(locked)}",), took())
        yield Stage(
            folder=places.folder,
            devnet=devnet,
            players=players,
            buyer=buyer,
            model=cast[0][1].variants[0].model,
            precision=cast[0][1].variants[0].precision,
        )


def _facts(player: Player) -> tuple[str, ...]:
    shown = player.shown
    prices = f"{dollars(shown.price_input)} in, {dollars(shown.price_output)} out"
    places = [f"{place}/p2p/{short(peer)}" for place, _, peer in map(_parted, shown.addresses)]
    return (f"sells for {prices}, a million tokens", *places)


def _parted(address: str) -> tuple[str, str, str]:
    return address.partition("/p2p/")


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    """Gives a function that says, once the block is over, how many seconds it took."""
    began_s = trio.current_time()
    ended_s: list[float] = []
    try:
        yield lambda: ended_s[0] - began_s
    finally:
        ended_s.append(trio.current_time())


@contextmanager
def _bounded(what: str) -> Iterator[None]:
    try:
        with trio.fail_after(SETUP_S):
            yield
    except trio.TooSlowError as error:
        raise Unavailable(f"{what} took over {SETUP_S:g} s: is this machine very busy?") from error


async def _start_all(
    stack: AsyncExitStack, places: Places, devnet: Devnet
) -> list[tuple[Player, ServingDocument]]:
    """Two providers at the same time: most of it is Python importing, one core each."""
    started: dict[str, tuple[Player, ServingDocument]] = {}
    processes: dict[str, ProviderProcess] = {}
    environment = node_environment(places.models, places.scratch)
    for name, _, _ in CAST:
        home, log = Home(places.folder / name), places.folder / f"{name}.log"
        process = ProviderProcess(name, home, log, environment)
        processes[name] = process
    stack.push_async_callback(_stop_all, list(processes.values()))

    async def start(number: int, process: ProviderProcess) -> None:
        started[process.name] = await _start_one(number, process, devnet)

    with _bounded("starting the providers"):
        async with trio.open_nursery() as nursery:
            # Takes seconds, which the client then does not need; in a thread, so Ctrl-C works.
            nursery.start_soon(_import_network)
            for number, process in enumerate(processes.values()):
                nursery.start_soon(start, number, process)
    return [started[name] for name, _, _ in CAST]


async def _import_network() -> None:
    await trio.to_thread.run_sync(import_module, "rowen.p2p.host")


async def _stop_all(processes: list[ProviderProcess]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            for process in processes:
                nursery.start_soon(process.stop)


async def _start_one(
    number: int, process: ProviderProcess, devnet: Devnet
) -> tuple[Player, ServingDocument]:
    name, price_input, price_output = CAST[number]
    home = process.home
    values = _chain_values(devnet) | {
        "provider.listen": ("/ip4/127.0.0.1/tcp/0",),
        "watch.listen": "127.0.0.1:0",
        # Its model runs on the processor, and nobody should wait for a GPU to be quiet.
        "gpu.watch": "none",
        "provider.price_input": price_input,
        "provider.price_output": price_output,
        "provider.credit": CREDIT_USD,
        # The demo says when to claim.
        "provider.claim_above": "1000.00",
    }
    password, config = await _make_home(home, values)
    address = await key_address(home.operator_key)
    payout = devnet_key(1000 + number).address
    await devnet.set_balance_wei(address, GAS_WEI)
    await request_payout(home, config, password, payout, confirmations=0)
    serving = await process.start()
    # The port it got is the port it must come back to.
    listen = tuple(text.partition("/p2p/")[0] for text in serving.addresses)
    home.config.write_text(render(values | {"provider.listen": listen}))
    shown = DemoProvider(
        name=name,
        address=serving.address,
        addresses=serving.addresses,
        payout=format_address(payout),
        price_input=serving.variants[0].price_input,
        price_output=serving.variants[0].price_output,
        credit=str(parse_usd(CREDIT_USD)),
    )
    return Player(process, address, payout, shown), serving


async def _make_client(
    folder: Path, devnet: Devnet, players: Sequence[Player]
) -> tuple[Home, str, Config]:
    home = Home(folder / "client")
    addresses = tuple(address for player in players for address in player.shown.addresses)
    values = _chain_values(devnet) | {"client.providers": addresses}
    password, config = await _make_home(home, values)
    await give(devnet, await key_address(home.wallet_key), WALLET)
    return home, password, config


async def _open_channels(buyer: Buyer, players: Sequence[Player]) -> None:
    assert buyer.client is not None
    with _bounded("opening the channels"):
        for player in players:
            await buyer.open_channel(player.address, DEPOSIT)
        # Sessions stand before the first question, so that its time is the model's.
        for player in players:
            await buyer.client.account(player.address)


async def _make_home(home: Home, values: dict[str, object]) -> tuple[str, Config]:
    password = secrets.token_urlsafe()
    write_password(home, password)
    home.config.write_text(render(values))
    await make_keys(home, password, scrypt_n=_SCRYPT_N)
    # The user's own variables are about the user's own node.
    return password, load_config(home.config, {})


def _chain_values(devnet: Devnet) -> dict[str, object]:
    domain = devnet.deployment.domain
    return {
        "chain.rpc": (devnet.url,),
        "chain.chain_id": domain.chain_id,
        "chain.escrow": format_address(domain.escrow),
    }
