"""A chain of one's own on loopback: anvil with a test token, escrow and stake, for demos and tests.

Anvil ends with its owner, however the owner ends. A small shell stands between the two and
reads a pipe whose other end only this process holds: closing it, on leaving the context or by
the kernel after ``kill -9``, makes the shell stop its child. (Linux's PR_SET_PDEATHSIG would
not do: it fires when the *thread* that forked ends, and macOS has no such thing.) A session of
its own keeps a terminal's Ctrl-C from reaching anvil before this process has finished.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final, TextIO

import trio

from rowen.chain.base import Deployment
from rowen.chain.calls import token as token_calls
from rowen.chain.contract import artifact
from rowen.chain.deployments import (
    CREATE2_FACTORY,
    SALT,
    create2_address,
    escrow_code,
    stake_code,
)
from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import Rpc, from_hex, quantity, to_hex
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.ids import keccak
from rowen.protocol.signing import Key

CHAIN_ID: Final = 31337
"""What everybody takes for a development chain, so nobody mistakes it for another."""

# Blocks in one request, so that it ends within its time on a busy machine too.
_MINE_MAX: Final = 100

START_S: Final = 30.0
STOP_S: Final = 10.0

# $1… is anvil's command line, fd 3 the pipe from the owner. TERM makes anvil write its state.
# The shell leads a session of its own, so its last words reach whoever still watches or sleeps.
_LEASH: Final = """
exec 3<&0
"$@" </dev/null &
child=$!
{ cat <&3 >/dev/null; kill -TERM $child; sleep 8; kill -KILL $child; } 2>/dev/null >&2 &
exec 3<&-
wait $child
status=$?
trap '' TERM
kill -TERM 0
exit $status
"""


def find_anvil() -> Path:
    """The anvil to run: ``ROWEN_ANVIL``, this checkout's ``contracts/node_modules``, or PATH.

    Raises:
        UserError: There is none.
    """
    chosen = os.environ.get("ROWEN_ANVIL")
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise UserError(f"ROWEN_ANVIL is {chosen}, which is not a program")
        return Path(chosen)
    modules = Path(__file__).resolve().parents[3] / "contracts" / "node_modules"
    for found in sorted(modules.glob("@foundry-rs/anvil-*/bin/anvil")):
        if os.access(found, os.X_OK):
            return found
    on_path = shutil.which("anvil")
    if on_path is None:
        raise UserError("anvil is not installed: run `make setup`, or set ROWEN_ANVIL to it")
    return Path(on_path)


def devnet_key(number: int) -> Key:
    """The key of devnet account ``number``: known to everybody, so worth nothing elsewhere."""
    return Key(keccak(b"rowen devnet account %d" % number))


@dataclass(frozen=True, slots=True)
class Devnet:
    """A running devnet.

    Attributes:
        url: Its JSON-RPC endpoint.
        rpc: A connection to it, closed when the devnet ends.
        deployment: The escrow on it.
        operator: An account that anvil signs for; pays for minting and mining.
        stake: The stake beside the escrow, 20 bytes; b"" where nobody needs to know it.
    """

    url: str
    rpc: Rpc
    deployment: Deployment
    operator: bytes
    stake: bytes = b""

    async def mint(self, to: bytes, amount: int) -> None:
        """Gives test tokens, token units."""
        call = token_calls.mint(to, amount).data
        await _transact(self.rpc, self.operator, self.deployment.token, call)

    async def set_balance_wei(self, address: bytes, balance_wei: int) -> None:
        """Sets what an address holds for gas."""
        await self.rpc.call("anvil_setBalance", to_hex(address), hex(balance_wei))

    async def mine(self, count: int = 1) -> None:
        """Adds blocks, and so confirmations."""
        for done in range(0, count, _MINE_MAX):
            await self.rpc.call("anvil_mine", hex(min(_MINE_MAX, count - done)))

    async def warp(self, seconds: int) -> None:
        """Moves the next block's time forward."""
        await self.rpc.call("evm_increaseTime", hex(seconds))

    async def reorg(self, depth: int) -> None:
        """Replaces the newest ``depth`` blocks by as many empty ones; nonces move back."""
        await self.rpc.call("anvil_reorg", depth, [])


@asynccontextmanager
async def open_devnet(
    *,
    port: int = 0,
    state: Path | None = None,
    block_time_s: int | None = None,
    unlock_delay_s: int = 3_600,
    payout_delay_s: int = 7_200,
    min_lock: int = 1_000,
    unbond_delay_s: int = 7_200,
    penalty: int = 10_000_000,
) -> AsyncIterator[Devnet]:
    """Runs a devnet for as long as the context is open.

    Args:
        port: On 127.0.0.1; 0 for any free one.
        state: File that keeps the chain from one run to the next.
        block_time_s: Adds a block that often, beside the one that each transaction gets at
            once; by default confirmations come only from ``Devnet.mine``.
        unlock_delay_s: The escrow's constants, as the two below. Contracts with other
            constants, in a kept state, stand at other addresses.
        payout_delay_s: See ``Deployment``.
        min_lock: See ``Deployment``.
        unbond_delay_s: See ``StakeDeployment``.
        penalty: See ``StakeDeployment``.

    Raises:
        UserError: No anvil, or the port is taken.
        Unavailable: Anvil does not start.
    """
    command = [str(find_anvil()), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--chain-id", str(CHAIN_ID)]
    if state is not None:
        command += ["--state", str(state), "--preserve-historical-states"]
        command += ["--state-interval", "10"]
    if block_time_s is not None:
        command += ["--block-time", str(block_time_s), "--mixed-mining"]
    async with _anvil(command) as url:
        rpc = Rpc(url)
        try:
            (operator, *_) = [from_hex(a, 20) for a in await rpc.call("eth_accounts")]
            deployment = await _deploy(rpc, operator, unlock_delay_s, payout_delay_s, min_lock)
            code = stake_code(deployment.domain.escrow, unbond_delay_s, penalty)
            stake = await _create2(rpc, operator, code)
            yield Devnet(url, rpc, deployment, operator, stake)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
                await rpc.aclose()


@asynccontextmanager
async def _anvil(command: list[str]) -> AsyncIterator[str]:
    """Runs anvil on its leash; gives its URL."""
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8", errors="replace") as output:
        try:
            process = await trio.lowlevel.open_process(
                ["/bin/sh", "-c", _LEASH, "anvil", *command],
                stdin=subprocess.PIPE,
                stdout=writing,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(writing)
        assert process.stdin is not None
        try:
            yield await _listening(command, output)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S):
                await process.stdin.aclose()
                await process.wait()


async def _listening(command: list[str], output: TextIO) -> str:
    """Waits until anvil says where it listens, and has the rest of its output thrown away."""
    said: deque[str] = deque(maxlen=20)
    with trio.move_on_after(START_S):
        while line := await trio.to_thread.run_sync(output.readline, abandon_on_cancel=True):
            said.append(line.strip())
            if line.startswith("Listening on "):
                # Unread, its log of every request would fill the pipe and stop it. A thread,
                # because a nursery here would wrap the errors of whoever uses the devnet.
                Thread(target=_discard, args=(output,), daemon=True).start()
                return "http://" + line.removeprefix("Listening on ").strip()
    raise _start_failure(command, said)


def _discard(output: TextIO) -> None:
    # The owner may close it first, when anvil is gone.
    with suppress(ValueError):
        deque(output, 0)


def _start_failure(command: list[str], output: deque[str]) -> Exception:
    said = " ".join(output)
    port = command[command.index("--port") + 1]
    if "in use" in said:
        return UserError(f"port {port} on 127.0.0.1 is taken: choose another")
    return Unavailable(f"anvil did not start; it said: {said[-500:] or 'nothing'}")


async def _deploy(
    rpc: Rpc, operator: bytes, unlock_delay_s: int, payout_delay_s: int, min_lock: int
) -> Deployment:
    """Puts token and escrow where code and constants say; finds them there after a restart."""
    token = await _create2(rpc, operator, artifact("TestUSDC").bytecode)
    code = escrow_code(token, unlock_delay_s, payout_delay_s, min_lock)
    escrow = await _create2(rpc, operator, code)
    return (await RpcEscrow.connect([rpc], chain_id=CHAIN_ID, escrow=escrow)).deployment


async def _create2(rpc: Rpc, operator: bytes, code: bytes) -> bytes:
    address = create2_address(code)
    if from_hex(await rpc.call("eth_getCode", to_hex(address), "latest")) == b"":
        await _transact(rpc, operator, CREATE2_FACTORY, SALT + code)
    return address


async def _transact(rpc: Rpc, sender: bytes, to: bytes, data: bytes) -> None:
    """Sends for an account that anvil holds the key of, and waits until it is mined."""
    tx_hash = await rpc.call(
        "eth_sendTransaction", {"from": to_hex(sender), "to": to_hex(to), "data": to_hex(data)}
    )
    receipt = None
    with trio.move_on_after(START_S):
        while (receipt := await rpc.call("eth_getTransactionReceipt", tx_hash)) is None:
            await trio.sleep(0.005)  # it answers a moment before it mines
    if receipt is None or quantity(receipt["status"]) != 1:
        raise Unavailable(f"anvil did not execute a transaction to {to_hex(to)}")
