"""The devnet starts, keeps its state, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from rowen.chain.devnet import devnet_key, find_anvil, open_devnet
from rowen.chain.escrow import RpcEscrow
from rowen.protocol.errors import UserError

from .conftest import CHANNEL, COIN_WEI, PAYER, PROVIDER, SESSION, AnvilWorld, fund

OWNER = """
import trio
from rowen.chain.devnet import open_devnet

async def main():
    async with open_devnet() as devnet:
        print(devnet.url, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def is_listening(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def test_the_contracts_stand_at_the_same_addresses_each_time() -> None:
    deployments = []
    for _ in range(2):
        async with open_devnet() as devnet:
            deployments.append(devnet.deployment)
    assert deployments[0] == deployments[1]


async def test_a_taken_port_is_named() -> None:
    async with open_devnet() as devnet:
        port = port_of(devnet.url)
        with pytest.raises(UserError, match=f"port {port} .* is taken"):
            async with open_devnet(port=port):
                raise AssertionError


async def test_an_error_inside_arrives_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_devnet():
            raise ZeroDivisionError


async def test_a_cancelled_devnet_is_gone() -> None:
    with trio.CancelScope() as scope:
        async with open_devnet() as devnet:
            url = devnet.url
            scope.cancel()
            await trio.sleep_forever()
    assert not await is_listening(port_of(url))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_devnet_ends_with_its_owner_however_that_ends(how: signal.Signals) -> None:
    owner = await trio.lowlevel.open_process(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    url = b""
    with trio.fail_after(240):
        while not url.endswith(b"\n"):
            url += await owner.stdout.receive_some()
        port = port_of(url.decode())
        assert await is_listening(port)
        os.kill(owner.pid, how)
        await owner.wait()
        await owner.stdout.aclose()
        while await is_listening(port):
            await trio.sleep(0.05)


async def test_a_kept_state_carries_channels_and_history_over(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with open_devnet(state=state) as devnet:
        world = AnvilWorld(devnet, RpcEscrow([devnet.rpc], devnet.deployment))
        await fund(world)
        await world.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 5_000, intent="lock")
        await world.mine(3)
        height = (await world.escrow.head()).number
    async with open_devnet(state=state) as devnet:
        again = RpcEscrow([devnet.rpc], devnet.deployment)
        head = await again.head()
        assert head.number >= height
        assert (await again.channel(CHANNEL.id, confirmations=0)).locked == 5_000
        assert (await again.channel(CHANNEL.id, confirmations=2)).locked == 5_000
        assert len(await again.events(await again.blocks(0, head.number))) == 1


async def test_blocks_come_by_themselves_when_asked_for() -> None:
    async with open_devnet(block_time_s=1) as devnet:
        escrow = RpcEscrow([devnet.rpc], devnet.deployment)
        first = (await escrow.head()).number
        with trio.fail_after(240):
            while (await escrow.head()).number < first + 2:
                await trio.sleep(0.1)
        await devnet.set_balance_wei(PAYER.address, COIN_WEI)
        await devnet.mint(PAYER.address, 5)
        assert await escrow.token_balance(PAYER.address) == 5


def test_without_anvil_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWEN_ANVIL", "/nowhere/anvil")
    with pytest.raises(UserError, match="ROWEN_ANVIL is /nowhere/anvil"):
        find_anvil()


def test_devnet_keys_are_the_same_everywhere() -> None:
    assert devnet_key(0).address == devnet_key(0).address != devnet_key(1).address
