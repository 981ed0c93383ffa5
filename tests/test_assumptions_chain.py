"""What we rely on in web3, eth_account and anvil; each is a behaviour somebody could change."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen.chain.calls import escrow, stake, token
from rowen.chain.codec import Call
from rowen.chain.contract import artifact, decode_event, decode_revert
from rowen.chain.devnet import devnet_key, open_devnet
from rowen.chain.events import Claimed, Locked
from rowen.chain.foreign import recursion_limit_kept
from rowen.chain.rpc import RpcError, from_hex, quantity, to_hex
from rowen.chain.transactions import GWEI, Fee, Transaction
from rowen.protocol.ids import format_address, keccak
from tests import profiles

profiles.load()

ADDRESSES = st.binary(min_size=20, max_size=20)
AMOUNTS = st.integers(0, 2**96 - 1)
HASHES = st.binary(min_size=32, max_size=32)


@pytest.fixture(scope="module")
def theirs() -> Any:
    """web3's own view of the escrow's ABI."""
    return contract_of("RowenEscrow")


@cache
def contract_of(name: str) -> Any:
    """web3's own view of a contract's ABI."""
    with recursion_limit_kept():
        from web3 import Web3

    return Web3().eth.contract(abi=artifact(name).abi)


CALLS = [
    (contract, entry["name"])
    for contract in ("RowenEscrow", "RowenStake", "TestUSDC")
    for entry in artifact(contract).abi
    if entry["type"] == "function"
]
MODULES = {"RowenEscrow": escrow, "RowenStake": stake, "TestUSDC": token}


def binding_of(contract: str, name: str) -> Callable[..., Call[Any]]:
    """Our function of that call."""
    module = MODULES[contract]
    found = [
        each
        for each in vars(module).values()
        if callable(each) and (each.__doc__ or "") == f"``{name}``."
    ]
    (binding,) = found
    return binding  # type: ignore[no-any-return]  # found by its text


def values_of(argument: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of one argument, as ours takes them."""
    kind = argument["type"]
    if kind == "tuple[]":
        return st.lists(values_of(argument | {"type": "tuple"}), max_size=3).map(tuple)
    if kind == "tuple":
        return st.tuples(*(values_of(each) for each in argument["components"]))
    if kind == "bytes":
        return st.binary(max_size=100)
    if kind == "string":
        return st.text(max_size=40)
    if kind.startswith("uint"):
        return st.integers(0, 2 ** int(kind[4:]) - 1)
    return ADDRESSES if kind == "address" else HASHES


def as_theirs(argument: dict[str, Any], value: Any) -> Any:
    """The same value as web3 takes it."""
    if argument["type"] == "tuple[]":
        return [as_theirs(argument | {"type": "tuple"}, each) for each in value]
    if argument["type"] == "tuple":
        return tuple(map(as_theirs, argument["components"], value))
    return format_address(value) if argument["type"] == "address" else value


@pytest.mark.parametrize(("contract", "name"), CALLS)
@given(data=st.data())
def test_every_call_is_what_web3_would_send(contract: str, name: str, data: st.DataObject) -> None:
    """Of every function of every contract, tuples, arrays and bytes among them."""
    (entry,) = (e for e in artifact(contract).abi if e.get("name") == name)
    values = [data.draw(values_of(each)) for each in entry["inputs"]]
    call = binding_of(contract, name)(*values)
    shown = [as_theirs(each, value) for each, value in zip(entry["inputs"], values, strict=True)]
    assert to_hex(call.data) == contract_of(contract).encode_abi(name, shown)
    assert [o["type"].replace("tuple", "") for o in entry["outputs"]] == list(call.returns)


@given(a=ADDRESSES, b=ADDRESSES, c=ADDRESSES, total=AMOUNTS, count=st.integers(0, 2**32 - 1))
def test_events_read_as_web3_reads_them(
    theirs: Any, a: bytes, b: bytes, c: bytes, total: int, count: int
) -> None:
    topic = keccak(b"Claimed(address,address,address,uint96,uint32,bytes32)")
    topics = [topic, a.rjust(32, b"\0"), b.rjust(32, b"\0")]
    root = keccak(a)
    data = c.rjust(32, b"\0") + total.to_bytes(32, "big") + count.to_bytes(32, "big") + root
    event = decode_event(topics, data, block=1, index=2, tx_hash=bytes(32))
    log = {
        "topics": topics,
        "data": data,
        "address": format_address(c),
        "blockNumber": 1,
        "logIndex": 2,
        "transactionHash": bytes(32),
        "transactionIndex": 0,
        "blockHash": bytes(32),
    }
    shown = theirs.events.Claimed().process_log(log)["args"]
    assert isinstance(event, Claimed)
    assert event.provider == bytes.fromhex(shown["provider"][2:])
    assert event.payer == bytes.fromhex(shown["payer"][2:])
    assert event.signer == bytes.fromhex(shown["signer"][2:])
    assert (event.total, event.receipt_count, event.receipts_root) == (
        shown["total"],
        shown["receiptCount"],
        shown["receiptsRoot"],
    )


def test_an_event_of_the_wrong_shape_is_a_value_error_and_another_contracts_is_none() -> None:
    topic = keccak(b"Locked(address,address,address,uint96)")
    assert Locked.__name__ == "Locked"
    with pytest.raises(ValueError, match="Locked log has 1 topics"):
        decode_event([topic], b"", block=0, index=0, tx_hash=b"")
    for topics in ([], [keccak(b"Transfer(address,address,uint256)")]):
        assert decode_event(topics, b"", block=0, index=0, tx_hash=b"") is None


def test_every_event_and_error_of_the_contracts_is_known_to_us() -> None:
    """A contract that grows an event must not find us deaf to it."""
    from rowen.chain.contract import _TOPIC_TO_EVENT, _TOPIC_TO_STAKE_EVENT

    for contract, known in (
        ("RowenEscrow", _TOPIC_TO_EVENT),
        ("RowenStake", _TOPIC_TO_STAKE_EVENT),
    ):
        entries = artifact(contract).abi
        signatures = {
            (e["type"], e["name"]): f"{e['name']}({','.join(i['type'] for i in e['inputs'])})"
            for e in entries
            if e["type"] in ("event", "error") and e["name"] != "EIP712DomainChanged"
        }
        topics = {keccak(s.encode()) for (kind, _), s in signatures.items() if kind == "event"}
        assert topics == set(known)
        for (kind, name), signature in signatures.items():
            if kind == "error":
                words = bytes(32) * (signature.count(",") + (not signature.endswith("()")))
                assert decode_revert("x", keccak(signature.encode())[:4] + words).error == name


def test_web3_would_send_a_transaction_again_if_it_might_retry() -> None:
    """Why ``Rpc`` turns web3's retries off."""
    with recursion_limit_kept():
        from web3.providers.rpc.utils import REQUEST_RETRY_ALLOWLIST

    assert "eth_sendRawTransaction" in REQUEST_RETRY_ALLOWLIST


def test_web3_follows_ccip_reads_unless_told_not_to() -> None:
    """Why ``Rpc`` turns them off; should the attribute be renamed, turning it off does nothing."""
    with recursion_limit_kept():
        from web3 import HTTPProvider

    assert HTTPProvider("http://127.0.0.1:9").global_ccip_read_enabled is True


IMPORTS = """
import sys
before = sys.getrecursionlimit()
{}
print(before, sys.getrecursionlimit())
"""


def limits_around(code: str) -> list[int]:
    run = [sys.executable, "-c", IMPORTS.format(code)]
    return [int(word) for word in subprocess.check_output(run).split()]


def test_py_ecc_lifts_the_recursion_limit_and_we_put_it_back() -> None:
    """When the first line fails, ``rowen.chain.foreign`` can go."""
    assert limits_around("import eth_account")[1] == 100_000
    before, after = limits_around(
        "import trio\n"
        "from rowen.chain.rpc import Rpc\n"
        "from rowen.chain.transactions import Fee, Transaction\n"
        "from rowen.protocol.signing import Key\n"
        "async def main():\n"
        "    rpc = Rpc('http://127.0.0.1:9')\n"
        "    await rpc._open()\n"
        "    await rpc.aclose()\n"
        "trio.run(main)\n"
        "tx = Transaction(chain_id=1, nonce=0, to=bytes(20), data=b'', gas=1, fee=Fee(1, 1))\n"
        "tx.signed(Key(bytes([1]) * 32), 'any')\n"
        "import rowen.chain.keystore, eth_keyfile.keyfile\n"
    )
    assert after == before


async def test_anvil_answers_as_the_wallet_expects() -> None:
    """Duplicates and old nonces are told apart by text, having no codes."""
    key = devnet_key(50)
    async with open_devnet() as devnet:
        await devnet.set_balance_wei(key.address, 10**18)
        rpc = devnet.rpc

        def signed(nonce: int, fee_gwei: int = 10) -> str:
            return to_hex(
                Transaction(
                    chain_id=31337, nonce=nonce, to=bytes([1]) * 20, data=b"", gas=30_000,
                    fee=Fee(fee_gwei * GWEI, GWEI),
                ).signed(key, "any").raw
            )  # fmt: skip

        async def refusal(raw: str) -> str:
            with pytest.raises(RpcError) as caught:
                await rpc.call("eth_sendRawTransaction", raw)
            return caught.value.reason.lower()

        await rpc.call("evm_setAutomine", False)
        await rpc.call("eth_sendRawTransaction", signed(0))
        assert "already imported" in await refusal(signed(0))
        assert "underpriced" in await refusal(signed(0, 9))
        await devnet.mine()
        assert "nonce too low" in await refusal(signed(0, 11))

        count = ("eth_getTransactionCount", to_hex(key.address), "latest")
        assert quantity(await rpc.call(*count)) == 1
        await devnet.reorg(1)
        assert quantity(await rpc.call(*count)) == 0, "anvil_reorg moves the nonce back"


async def test_logs_of_an_unknown_block_are_an_error_and_of_an_unknown_range_are_not() -> None:
    """Why ``Escrow.events`` asks by hash: a lagging node must not look like a quiet one."""
    async with open_devnet() as devnet:
        beyond = {"fromBlock": "0x0", "toBlock": "0xffff"}
        assert await devnet.rpc.call("eth_getLogs", beyond) is not None
        with pytest.raises(RpcError):
            await devnet.rpc.call("eth_getLogs", {"blockHash": to_hex(keccak(b"no such block"))})


async def test_the_committed_code_is_what_a_deployment_leaves_on_chain() -> None:
    async with open_devnet(unlock_delay_s=4_321, min_lock=77) as devnet:
        escrow = to_hex(devnet.deployment.domain.escrow)
        code = from_hex(await devnet.rpc.call("eth_getCode", escrow, "latest"))
        assert artifact("RowenEscrow").matches(code)
        assert not artifact("TestUSDC").matches(code)
        assert code != artifact("RowenEscrow").deployed
        assert (devnet.deployment.unlock_delay_s, devnet.deployment.min_lock) == (4_321, 77)
