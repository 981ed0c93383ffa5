"""The contracts put on a chain by command and by script, and compared with what was built."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from rowen.chain.contract import artifact
from rowen.chain.deploying import deploy, first_block
from rowen.chain.deployments import (
    CREATE2_FACTORY,
    SCHEMA_FILE,
    DeploymentRecord,
    encode_record,
    plan,
    read_record,
    schema,
)
from rowen.chain.devnet import CHAIN_ID, Devnet, open_devnet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import RpcError, from_hex, to_hex
from rowen.chain.sender import Sender
from rowen.chain.snapshot import take_snapshot
from rowen.chain.stake import RpcStake
from rowen.chain.verification import UNKNOWN, Check, verify
from rowen.chain.wallet import RpcWallet
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.ids import format_address, parse_address
from rowen.testing.chain import MemoryTransactionLog

from .conftest import COIN_WEI, PAYER, PROVIDER, QUICK, SESSION

CONTRACTS = Path(__file__).resolve().parents[3] / "contracts"
CONSTANTS = {
    "unlock_delay_s": 21_600,
    "payout_delay_s": 172_800,
    "min_lock": 1_000_000,
    "unbond_delay_s": 1_209_600,
    "penalty": 100_000_000,
}
# The first account of every anvil; known to everybody.
ANVIL_SECRET = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"


@dataclass
class Site:
    """A chain with a token, and somebody who deploys."""

    devnet: Devnet
    sender: Sender
    planned: DeploymentRecord

    async def deploy(self) -> tuple[DeploymentRecord, int]:
        record, receipts = await deploy(self.devnet.rpc, self.sender, self.planned)
        return record, len(receipts)

    async def checks(self, record: DeploymentRecord) -> list[Check]:
        return await verify(RpcEscrow([self.devnet.rpc], record.deployment), record)

    async def wrong(self, record: DeploymentRecord) -> set[tuple[str, str]]:
        return {(c.contract, c.name) for c in await self.checks(record) if not c.is_right}

    async def set_code(self, address: str | bytes, code: bytes) -> None:
        shown = address if isinstance(address, str) else to_hex(address)
        await self.devnet.rpc.call("anvil_setCode", shown, to_hex(code))

    async def code(self, address: str) -> bytearray:
        return bytearray(from_hex(await self.devnet.rpc.call("eth_getCode", address, "latest")))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_devnet() as devnet:
        await devnet.set_balance_wei(PAYER.address, COIN_WEI)
        await devnet.mine(5)
        sender = Sender(
            devnet.rpc, CHAIN_ID, PAYER, MemoryTransactionLog(), confirmations=0, policy=QUICK
        )
        planned = plan(CHAIN_ID, devnet.deployment.token, **CONSTANTS)
        yield Site(devnet, sender, planned)


async def test_a_deployment_is_right_in_every_check_and_made_once(site: Site) -> None:
    height = int(await site.devnet.rpc.call("eth_blockNumber"), 16)
    record, sent = await site.deploy()
    assert (record.block, sent) == (height + 1, 2)
    assert await site.deploy() == (record, 0), "run again, it finds what is there"
    checks = await site.checks(record)
    assert not [check for check in checks if not check.is_right]
    contracts = {"RowenEscrow", "RowenStake", "WalletDeployer", "token"}
    assert {check.contract for check in checks} == contracts
    assert UNKNOWN not in {check.actual for check in checks}
    await RpcEscrow.connect(
        [site.devnet.rpc], chain_id=CHAIN_ID, escrow=parse_address(record.escrow.address)
    )


async def test_the_script_puts_the_same_contracts_at_the_same_addresses(
    site: Site, tmp_path: Path
) -> None:
    """`contracts/script/Deploy.s.sol`, really run by forge against this chain."""
    if not (CONTRACTS / "node_modules/@foundry-rs").is_dir():
        pytest.skip("contracts/node_modules is not installed")
    token = format_address(site.devnet.deployment.token)
    settings = {
        "TOKEN": token,
        "UNLOCK_DELAY": CONSTANTS["unlock_delay_s"],
        "PAYOUT_DELAY": CONSTANTS["payout_delay_s"],
        "MIN_LOCK": CONSTANTS["min_lock"],
        "UNBOND_DELAY": CONSTANTS["unbond_delay_s"],
        "PENALTY": CONSTANTS["penalty"],
        "FOUNDRY_BROADCAST": tmp_path / "broadcast",
    }
    command = ["node", "tools/foundry", "forge", "script", "script/Deploy.s.sol"]
    command += ["--rpc-url", site.devnet.url, "--broadcast", "--private-key", ANVIL_SECRET]
    done = await trio.run_process(
        command,
        cwd=CONTRACTS,
        env={**os.environ, **{name: str(value) for name, value in settings.items()}},
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()[-2_000:]
    record, sent = await site.deploy()
    assert sent == 0, "the script left nothing to deploy"
    assert await site.wrong(record) == set()


@pytest.mark.parametrize(
    ("contract", "field", "value"),
    [
        ("escrow", "unlock_delay_s", 1),
        ("escrow", "payout_delay_s", 1),
        ("escrow", "min_lock", "1"),
        ("stake", "unbond_delay_s", 86_400),
        ("stake", "penalty", "1"),
    ],
)
async def test_a_constant_that_differs_shows_in_address_immutables_and_getter(
    site: Site, contract: str, field: str, value: Any
) -> None:
    record, _ = await site.deploy()
    part = msgspec.structs.replace(getattr(record, contract), **{field: value})
    changed = msgspec.structs.replace(record, **{contract: part})
    getter = {
        "unlock_delay_s": "unlockDelay",
        "payout_delay_s": "payoutDelay",
        "min_lock": "minLock",
        "unbond_delay_s": "unbondDelay",
        "penalty": "penalty",
    }[field]
    name = {"escrow": "RowenEscrow", "stake": "RowenStake"}[contract]
    assert await site.wrong(changed) >= {
        (name, "CREATE2 address"), (name, "immutables"), (name, getter),
    }  # fmt: skip


async def test_another_code_at_the_address_is_found(site: Site) -> None:
    """One byte of any contract; an endpoint that lies looks the same."""
    record, _ = await site.deploy()
    deployer = next(c.actual for c in await site.checks(record) if c.name == "walletDeployer")
    for contract, address in (
        ("RowenEscrow", record.escrow.address),
        ("RowenStake", record.stake.address),
        ("WalletDeployer", deployer),
    ):
        right = await site.code(address)
        changed = bytearray(right)
        changed[-1] ^= 1
        await site.set_code(address, bytes(changed))
        assert (contract, "code without immutables") in await site.wrong(record)
        await site.set_code(address, b"")
        assert (contract, "code without immutables") in await site.wrong(record)
        await site.set_code(address, bytes(right))
    assert await site.wrong(record) == set()


async def test_an_immutable_changed_in_one_of_its_places_is_found(site: Site) -> None:
    record, _ = await site.deploy()
    for contract, part in (("RowenEscrow", record.escrow), ("RowenStake", record.stake)):
        right = await site.code(part.address)
        for places in artifact(contract).immutables:
            start, length = places[-1]
            changed = bytearray(right)
            changed[start + length - 1] ^= 1
            await site.set_code(part.address, bytes(changed))
            assert (contract, "immutables") in await site.wrong(record)
        await site.set_code(part.address, bytes(right))


@pytest.mark.parametrize("halting", [b"\xfe", b"\x01", b"\x5f\x56", b"\xef"])
async def test_a_code_that_ends_in_no_usual_way_is_wrong_and_no_reason_to_try_later(
    site: Site, halting: bytes
) -> None:
    """Endpoints tell a halt as they tell a failure of their own."""
    record, _ = await site.deploy()
    for contract, part in (("RowenEscrow", record.escrow), ("RowenStake", record.stake)):
        right = await site.code(part.address)
        await site.set_code(part.address, halting)
        assert (contract, "code without immutables") in await site.wrong(record)
        await site.set_code(part.address, bytes(right))


async def test_an_endpoint_that_refuses_a_getter_of_the_right_code_is_asked_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = await site.deploy()
    rpc, original = site.devnet.rpc, site.devnet.rpc.call

    async def limited(method: str, *params: object) -> Any:
        if method == "eth_call":
            raise RpcError(rpc.endpoint, method, "limit exceeded", b"")
        return await original(method, *params)

    monkeypatch.setattr(rpc, "call", limited)
    with pytest.raises(Unavailable, match="limit exceeded"):
        await site.checks(record)


async def test_another_block_or_build_in_the_record_is_found(site: Site) -> None:
    """Also one that the chain has not reached, which an endpoint refuses as one it forgot."""
    record, _ = await site.deploy()
    for block in (record.block - 1, record.block + 1, 10**9, 2**53 - 1):
        changed = msgspec.structs.replace(record, block=block)
        assert await site.wrong(changed) == {("RowenEscrow", "block")}
    other = msgspec.structs.replace(record, source_sha256="0" * 64)
    assert await site.wrong(other) == {("RowenEscrow", "build")}


async def test_a_block_that_the_endpoint_has_forgotten_is_said_to_be_unchecked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = await site.deploy()
    rpc, original = site.devnet.rpc, site.devnet.rpc.call
    await site.devnet.mine(3)

    async def pruned(method: str, *params: object) -> Any:
        if (
            method == "eth_getCode"
            and params[1] != "latest"
            and int(str(params[1]), 16) <= record.block
        ):
            raise RpcError(rpc.endpoint, method, "missing trie node", b"")
        return await original(method, *params)

    monkeypatch.setattr(rpc, "call", pruned)
    assert [c.name for c in await site.checks(record) if c.actual == UNKNOWN] == ["block"]
    with pytest.raises(Unavailable, match="ask one that keeps old state"):
        await first_block(rpc, parse_address(record.escrow.address))


async def test_what_a_deployment_lacks_is_said_before_anything_is_sent(site: Site) -> None:
    bare = msgspec.structs.replace(site.planned, token="0x" + "12" * 20)
    with pytest.raises(UserError, match="no token at 0x1212"):
        await deploy(site.devnet.rpc, site.sender, bare)
    # Any call of it returns 18, as that many decimals or that many tokens.
    await site.set_code(bare.token, bytes.fromhex("60125f5260205ff3"))
    with pytest.raises(UserError, match=r"has 18 decimals.*needs a dollar with 6"):
        await deploy(site.devnet.rpc, site.sender, bare)
    for no_token in (b"\x00", bytes.fromhex("5f5ffd")):
        await site.set_code(bare.token, no_token)
        with pytest.raises(UserError, match="is no ERC-20 token"):
            await deploy(site.devnet.rpc, site.sender, bare)
    await site.set_code(CREATE2_FACTORY, b"")
    with pytest.raises(UserError, match="no CREATE2 deployer"):
        await site.deploy()


async def test_a_stake_of_another_escrow_is_not_taken_for_ours(site: Site) -> None:
    """It would count bonds that nothing on this escrow can slash."""
    record, _ = await site.deploy()
    escrow = await RpcEscrow.connect(
        [site.devnet.rpc], chain_id=CHAIN_ID, escrow=parse_address(record.escrow.address)
    )
    stake = await RpcStake.connect(escrow, parse_address(record.stake.address))
    assert stake.deployment == record.stake_deployment
    with pytest.raises(UserError, match="belongs to the escrow"):
        await RpcStake.connect(escrow, site.devnet.stake)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unlock_delay_s": 0}, "1 second to 30 days"),
        ({"payout_delay_s": 31 * 86_400}, "1 second to 30 days"),
        ({"unbond_delay_s": 21_600}, "must be above the unlock delay"),
        ({"penalty": 0}, "deters nobody"),
    ],
)
def test_constants_that_the_contracts_refuse_are_refused_here(
    changes: dict[str, int], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        plan(1, bytes(20), **{**CONSTANTS, **changes})


async def test_a_snapshot_reads_logs_from_the_deployments_block(site: Site) -> None:
    """And proves as much as one that starts at genesis."""
    record, _ = await site.deploy()
    escrow = await RpcEscrow.connect(
        [site.devnet.rpc], chain_id=CHAIN_ID, escrow=parse_address(record.escrow.address)
    )
    await site.devnet.mint(PAYER.address, 2_000_000)
    wallet = RpcWallet(escrow, PAYER, MemoryTransactionLog(), confirmations=0, policy=QUICK)
    await wallet.lock(PROVIDER.address, SESSION.address, 2_000_000, intent="lock")
    asked: list[int] = []
    original = site.devnet.rpc.batch

    async def batch(calls: Any) -> list[Any]:
        asked.extend(
            int(params[0]["fromBlock"], 16) for name, params in calls if name == "eth_getLogs"
        )
        return await original(calls)

    site.devnet.rpc.batch = batch  # type: ignore[method-assign]  # a witness
    short = await take_snapshot(escrow, PROVIDER.address, confirmations=0, first_block=record.block)
    assert min(asked) == record.block > 0
    whole = await take_snapshot(escrow, PROVIDER.address, confirmations=0)
    assert short == whole
    assert len(short.logs) == 1


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = plan(8453, b"t" * 20, **CONSTANTS)
    path = tmp_path / "8453.json"
    path.write_bytes(encode_record(record))
    assert read_record(path) == record


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"\xff", b"[" * 5_000, b"x" * 20_000, b'{"format": "rowen-deployment/2"}']
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "1.json"
    path.write_bytes(raw)
    with pytest.raises(UserError, match="is no deployment record"):
        read_record(path)
    with pytest.raises(UserError, match="there is no deployment record"):
        read_record(tmp_path / "2.json")


def test_a_record_with_a_number_that_no_contract_holds_is_none(tmp_path: Path) -> None:
    record = encode_record(plan(8453, b"t" * 20, **CONSTANTS))
    path = tmp_path / "8453.json"
    for delay in (b"21600", b"172800", b"1209600"):
        assert delay in record
        path.write_bytes(record.replace(delay, b"1" + b"0" * 80))
        with pytest.raises(UserError, match="is no deployment record"):
            read_record(path)


def test_of_an_endless_file_no_more_is_read_than_a_record_can_have() -> None:
    with pytest.raises(UserError, match="is no deployment record: over"):
        read_record(Path("/dev/zero"))


def test_every_committed_record_is_of_this_format_and_the_schema_is_not_stale() -> None:
    """`python -m rowen.chain.deployments` after a change of the format."""
    folder = CONTRACTS / "deployments"
    assert (folder / SCHEMA_FILE).read_bytes() == schema()
    for path in folder.glob("[0-9]*.json"):
        assert read_record(path).chain_id == int(path.stem)
