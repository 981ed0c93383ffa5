"""Forks provider and client processes that can be killed and restarted quickly.

Run as a program: it imports everything once and then forks a child for each life it is asked
for on standard input, so that a restart costs milliseconds instead of seconds. A life is the
real thing apart from the model: libp2p on loopback, SQLite on disk, the escrow on a real chain.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio

from rowen.chain.base import fresh_intent
from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import Rpc
from rowen.chain.transactions import Attempt, FeePolicy, Outcome
from rowen.chain.wallet import RpcWallet
from rowen.client.client import ClientSettings, open_client
from rowen.p2p.host import open_network
from rowen.protocol.errors import RowenError
from rowen.protocol.signing import Key
from rowen.provider.node import Provider
from rowen.provider.settings import Prices, ProviderSettings
from rowen.provider.stock import Ware
from rowen.provider.till import Till, now_ms
from rowen.store.journal import open_journal
from rowen.testing.engine import SCRIPTED, ScriptedEngine

PRICES = Prices(input=500_000, cached=100_000, output=2_000_000)
SEALING_KEY = b"s" * 32


async def _chain(stack: AsyncExitStack, life: dict[str, Any]) -> RpcEscrow:
    rpc = Rpc(life["rpc"])
    stack.push_async_callback(rpc.aclose)
    return await RpcEscrow.connect(
        [rpc], chain_id=life["chain_id"], escrow=bytes.fromhex(life["escrow"])
    )


async def provider(life: dict[str, Any], say: Callable[..., None]) -> None:
    """Serves until killed; asked to settle by ``settle`` in the life's description."""
    key = Key(bytes.fromhex(life["key"]))
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(Path(life["db"]), SEALING_KEY))
        escrow = await _chain(stack, life)
        network = await stack.enter_async_context(open_network(key.secret, listen=[life["listen"]]))
        node = Provider(
            key=key,
            domain=escrow.deployment.domain,
            network=network,
            escrow=escrow,
            journal=journal,
            wares=(Ware(engine=ScriptedEngine(delay_s=0.002), prices=PRICES),),
            settings=ProviderSettings(credit=40, confirmations=0),
            now_ms=now_ms,
        )
        await node.start()
        say(ready=list(network.addresses))
        if life.get("settle"):
            await _last_visit(node, trio.Path(f"{life['say']}.settle"))
            log = journal.transactions(life["chain_id"], Attempt, Outcome)
            wallet = RpcWallet(escrow, key, log, confirmations=0, policy=FeePolicy(poll_s=0.05))
            await wallet.recover()
            till = Till(key=key, escrow=escrow, wallet=wallet, journal=journal, log=log)
            await till.settle(sweep=False)
            say(
                credit=await escrow.credit(key.address),
                channels=[_facts(a.state.issued, a.state.paid, a.state) for a in _accounts(node)],
            )
            return
        await node.run()


async def _last_visit(node: Provider, told: trio.Path) -> None:
    """Returns once the client has settled what was open, and all it sent has been read."""
    while not await told.exists() or any(account.is_attached for account in _accounts(node)):
        await trio.sleep(0.02)


def _accounts(node: Provider) -> list[Any]:
    return list(node.books.accounts.values())


def _facts(issued: Any, paid: Any, state: Any) -> dict[str, Any]:
    return {
        "issued": [issued.count, issued.total, issued.frontier.root().hex()],
        "paid": [paid.count, paid.total, paid.frontier.root().hex()],
        "jobs": len(state.jobs),
        "stopped": state.stopped,
    }


async def client(life: dict[str, Any], say: Callable[..., None]) -> None:
    """Buys one answer after the other until killed, or settles what is open and says it all."""
    key = Key(bytes.fromhex(life["key"]))
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(Path(life["db"]), SEALING_KEY))
        escrow = await _chain(stack, life)
        network = await stack.enter_async_context(open_network(key.secret))
        settings = ClientSettings(
            payer=bytes.fromhex(life["payer"]),
            providers=(life["provider"],),
            confirmations=0,
            attach_wait_s=10.0,
            end_wait_s=2.0,
        )
        buyer = await stack.enter_async_context(
            open_client(key=key, network=network, escrow=escrow, journal=journal, settings=settings)
        )
        say(ready=True)
        if life.get("settle"):
            assert await buyer.settle_open_jobs() == []
            (account,) = buyer._accounts.values()
            say(
                log=[account.state.log.count, account.state.log.total,
                     account.state.log.frontier.root().hex()],
                jobs=len(account.state.jobs),
                stopped=account.state.stopped,
            )  # fmt: skip
            return
        number = 0
        while True:
            number += 1
            try:
                async with buyer.chat(
                    f"question {number}", model=SCRIPTED.model, max_cost=5_000
                ) as answer:
                    await answer.read()
                say(paid=answer.cost)
            except RowenError:
                await trio.sleep(0.05)


async def fund(life: dict[str, Any], say: Callable[..., None]) -> None:
    """Opens the channel."""
    key = Key(bytes.fromhex(life["wallet"]))
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(Path(life["db"]), SEALING_KEY))
        escrow = await _chain(stack, life)
        log = journal.transactions(life["chain_id"], Attempt, Outcome)
        wallet = RpcWallet(escrow, key, log, confirmations=0, policy=FeePolicy(poll_s=0.05))
        await wallet.lock(
            bytes.fromhex(life["provider"]), bytes.fromhex(life["signer"]), life["amount"],
            intent=fresh_intent("lock"),
        )  # fmt: skip
        say(ready=True)


LIVES: dict[str, Callable[[dict[str, Any], Callable[..., None]], Awaitable[None]]] = {
    "provider": provider,
    "client": client,
    "fund": fund,
}


def main() -> None:
    """Forks a life for each line of JSON; reports ``{"pid": …}`` and what the life says."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        life = json.loads(line)
        pid = os.fork()
        if pid:
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(life["say"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def say(out: int = out, **facts: Any) -> None:
            os.write(out, json.dumps(facts).encode() + b"\n")

        say(pid=os.getpid())
        log = os.open(life["say"] + ".log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            trio.run(partial(LIVES[life["kind"]], life, say))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - the parent reads why from the file
            say(error=repr(error))
            import traceback

            traceback.print_exception(error)
            os._exit(1)


if __name__ == "__main__":
    main()
