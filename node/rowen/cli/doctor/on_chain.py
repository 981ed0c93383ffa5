"""The chain: endpoints, contract, gas money, payout address, and who else uses the key."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import trio

from rowen.chain.escrow import Disagreement, RpcEscrow
from rowen.chain.keystore import key_address, sealing_key
from rowen.chain.rpc import Rpc, quantity
from rowen.chain.siblings import Siblings, judge, next_nonce
from rowen.chain.transactions import Attempt, Outcome
from rowen.cli.doctor.codes import finding
from rowen.cli.doctor.machine import clock_finding
from rowen.cli.documents import DoctorFinding
from rowen.config import ChainConfig, Config
from rowen.home import Home
from rowen.protocol.errors import RowenError, Unavailable, UserError
from rowen.protocol.ids import format_address, parse_address
from rowen.protocol.signing import Key
from rowen.provider.readings import CLAIM_GAS
from rowen.store.journal import open_journal

ASK_S = 10.0
LOCAL_CHAIN = 31337
"""What anvil and hardhat call a chain of one's own; its one endpoint may be believed."""


@dataclass(slots=True)
class Chain:
    """What the checks of the chain found to go on with.

    Attributes:
        escrow: The contract; None when it cannot be reached.
    """

    escrow: RpcEscrow | None = None


async def endpoint_findings(
    config: ChainConfig, chain: Chain, stack: AsyncExitStack
) -> AsyncIterator[DoctorFinding]:
    """Endpoints and contract; leaves the contract in ``chain`` when all is well."""
    alive: list[Rpc] = []
    is_right = True
    for url in config.rpc:
        try:
            rpc = Rpc(url, timeout_s=ASK_S)
            stack.push_async_callback(rpc.aclose)
            answer = await rpc.call("eth_chainId")
            with rpc.reading("eth_chainId"):
                actual = quantity(answer)
        except RowenError as error:
            yield finding("rpc-dead", str(error))
            continue
        if actual != config.chain_id:
            is_right = False
            what = f"{rpc.endpoint} is on chain {actual}, [chain] chain_id is {config.chain_id}"
            yield finding("chain-wrong", what)
            continue
        alive.append(rpc)
    if len(config.rpc) == 1 and config.chain_id != LOCAL_CHAIN:
        yield finding("rpc-alone", "[chain] rpc has one endpoint")
    if not config.escrow:
        yield finding("escrow-unset", "no escrow contract is set")
        return
    if not alive or not is_right:
        return
    try:
        chain.escrow = await RpcEscrow.connect(
            alive, chain_id=config.chain_id, escrow=parse_address(config.escrow)
        )
    except UserError as error:
        yield finding("escrow-wrong", str(error))
    except Unavailable as error:
        yield finding(_code_of(error), str(error))


async def state_findings(
    home: Home, config: Config, escrow: RpcEscrow
) -> AsyncIterator[DoctorFinding]:
    """Clock, gas money and payout address, as the chain shows them."""
    head = await escrow.head()
    clock = clock_finding(
        time.time(),
        head.timestamp_s,
        await escrow.endpoints[0].clock_s(),
        lag_s_max=config.watch.chain_lag_s,
    )
    if clock is not None:
        yield clock
    try:
        operator = await key_address(home.operator_key)
    except UserError:
        # Told already: there is none, or it is damaged.
        return
    rpc = escrow.endpoints[0]
    price = await rpc.call("eth_gasPrice")
    with rpc.reading("eth_gasPrice"):
        needed_wei = config.watch.gas_claims * CLAIM_GAS * quantity(price)
    has_wei = await escrow.balance_wei(operator)
    if has_wei <= needed_wei:
        yield finding(
            "gas-low",
            f"{format_address(operator)} has {has_wei / 10**18:.6f} coin for gas; "
            f"{config.watch.gas_claims} claims cost {needed_wei / 10**18:.6f} now",
        )
    if await escrow.payout(operator) in (operator, bytes(20)):
        yield finding(
            "payout-unset",
            f"earnings go to the operator key {format_address(operator)} itself, which is on this "
            "machine",
        )


async def sibling_findings(
    home: Home, config: Config, key: Key, escrow: RpcEscrow
) -> AsyncIterator[DoctorFinding]:
    """Whether another node uses the key; for a node that does not run now."""
    ours: Sequence[Attempt] = ()
    if home.seller_journal.exists():
        try:
            async with open_journal(home.seller_journal, sealing_key(key)) as journal:
                log = journal.transactions(config.chain.chain_id, Attempt, Outcome)
                ours = [*await log.settled(key.address), *await log.pending(key.address)]
        except UserError as error:
            yield finding("key-in-use", str(error))
            return
    siblings = Siblings(ours, await next_nonce(escrow, key.address))
    if why := judge(siblings):
        yield finding("key-used-elsewhere", f"{format_address(key.address)}: {why}")


def _code_of(error: Exception) -> str:
    return "rpc-disagrees" if isinstance(error, Disagreement) else "rpc-dead"


async def bounded(findings: AsyncIterator[DoctorFinding]) -> AsyncIterator[DoctorFinding]:
    """Those findings; a chain that stops to answer in between is one, too."""
    step = partial(anext, findings, None)
    while True:
        try:
            with trio.fail_after(6 * ASK_S):
                found = await step()
        except (Unavailable, trio.TooSlowError) as error:
            yield finding(_code_of(error), str(error) or "the endpoint takes too long")
            return
        if found is None:
            return
        yield found
