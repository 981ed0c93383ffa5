"""Payers that are contracts or not there yet, and tokens that are not USDC, on anvil.

The wallets and tokens are those of the contracts' own tests, as forge left them in
``contracts/out``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rowen.chain import authorizations
from rowen.chain.authorizations import PERMIT2, Funding, key_signature
from rowen.chain.base import ChannelKey
from rowen.chain.calls import token as token_calls
from rowen.chain.codec import encode, selector
from rowen.chain.contract import encode_words
from rowen.chain.deployments import escrow_code
from rowen.chain.devnet import CHAIN_ID
from rowen.chain.escrow import RpcEscrow
from rowen.chain.refusals import Reverted
from rowen.chain.rpc import from_hex, to_hex
from rowen.chain.wallet import RpcWallet
from rowen.chain.wishes import for_elsewhere, lock_wish, send, sign, unlock_wish
from rowen.protocol.errors import UserError
from rowen.protocol.signing import Key
from rowen.testing.chain import MemoryTransactionLog

from .conftest import COIN_WEI, PAYER, PROVIDER, QUICK, SESSION, STRANGER, AnvilWorld

OUT = Path(__file__).resolve().parents[3] / "contracts" / "out"
AMOUNT = 10_000
ERC6492 = bytes.fromhex("6492" * 16)


def built(file: str, contract: str, field: str = "bytecode") -> bytes:
    path = OUT / file / f"{contract}.json"
    if not path.is_file():
        pytest.skip("contracts/out is not built")
    return bytes.fromhex(json.loads(path.read_bytes())[field]["object"].removeprefix("0x"))


async def create(world: AnvilWorld, code: bytes) -> bytes:
    """Deploys from anvil's own account; the address."""
    rpc = world.devnet.rpc
    fields = {"from": to_hex(world.devnet.operator), "data": to_hex(code)}
    tx_hash = await rpc.call("eth_sendTransaction", fields)
    await world.mine()
    return from_hex((await rpc.call("eth_getTransactionReceipt", tx_hash))["contractAddress"], 20)


async def wallet_of(world: AnvilWorld, owner: Key) -> bytes:
    deployment = world.escrow.deployment
    arguments = encode_words(owner.address, deployment.token, deployment.domain.escrow)
    return await create(world, built("Wallets.sol", "OwnedWallet") + arguments)


async def until(world: AnvilWorld) -> int:
    return (await world.escrow.head()).timestamp_s + 50_000


async def locked(world: AnvilWorld, key: ChannelKey) -> int:
    return (await world.escrow.channel(key.id, confirmations=0)).locked


async def test_a_contract_wallet_funds_leaves_and_stays_by_its_owners_signature(
    anvil: AnvilWorld,
) -> None:
    """ERC-1271: the wallet's code judges a signature that is no key's."""
    payer = await wallet_of(anvil, PAYER)
    await anvil.mint(payer, AMOUNT)
    key = ChannelKey(payer, PROVIDER.address, SESSION.address)
    deployment, relayer = anvil.escrow.deployment, anvil.wallet(STRANGER)
    token = await anvil.escrow.token_facts(payer)
    assert token.allowance >= AMOUNT
    wish = lock_wish(deployment, key, AMOUNT, token, await until(anvil), Funding.APPROVE)
    with pytest.raises(UserError, match="--elsewhere"):
        sign(wish, deployment, token, PAYER)

    def signed(shown: Any, by: Key = PAYER) -> Any:
        """What the wallet's own software would do with the typed data; here, with our digest."""
        from msgspec.structs import replace

        digest = authorizations.lock(deployment.domain, shown.lock).digest
        if shown.kind == "leave":
            digest = authorizations.request_unlock(deployment.domain, key, shown.deadline_s).digest
        if shown.kind == "stay":
            digest = authorizations.cancel_unlock(
                deployment.domain, key, shown.unlock_at_s, shown.deadline_s
            ).digest
        return replace(shown, signature=f"0x{key_signature(by.sign(digest)).hex()}01")

    shown = for_elsewhere(wish, deployment, token)
    assert shown.typed_data is not None
    with pytest.raises(UserError, match="nobody signed"):
        await send(shown, anvil.escrow, relayer)
    with pytest.raises(Reverted, match="AuthorizationInvalid"):
        await send(signed(shown, STRANGER), anvil.escrow, relayer)
    await send(signed(shown), anvil.escrow, relayer)
    assert await locked(anvil, key) == AMOUNT

    view = await anvil.escrow.channel(key.id, confirmations=0)
    leave = unlock_wish(deployment, key, view, "leave", await until(anvil))
    await send(signed(leave), anvil.escrow, relayer)
    view = await anvil.escrow.channel(key.id, confirmations=0)
    assert view.unlock_at_s
    with pytest.raises(UserError, match="asked for already"):
        unlock_wish(deployment, key, view, "leave", 1)
    stay = unlock_wish(deployment, key, view, "stay", await until(anvil))
    await send(signed(stay), anvil.escrow, relayer)
    assert not (await anvil.escrow.channel(key.id, confirmations=0)).unlock_at_s


async def test_a_wallet_that_is_not_deployed_yet_is_deployed_by_its_signature(
    anvil: AnvilWorld,
) -> None:
    """ERC-6492: the tokens lie at an address without code until the lock itself puts it there."""
    from msgspec.structs import replace

    factory = await create(anvil, built("Wallets.sol", "WalletFactory"))
    deployment, rpc = anvil.escrow.deployment, anvil.devnet.rpc
    kinds = ("address", "address", "address")
    arguments = encode(kinds, (PAYER.address, deployment.token, deployment.domain.escrow))
    question = {"to": to_hex(factory), "data": to_hex(selector("addressOf", kinds) + arguments)}
    payer = from_hex(await rpc.call("eth_call", question, "latest"))[12:]
    assert await anvil.rpc_escrow.code(payer) == b""
    await anvil.mint(payer, AMOUNT)

    key = ChannelKey(payer, PROVIDER.address, SESSION.address)
    token = await anvil.escrow.token_facts(payer)
    wish = lock_wish(deployment, key, AMOUNT, token, await until(anvil), Funding.APPROVE)
    inner = key_signature(PAYER.sign(authorizations.lock(deployment.domain, wish.lock).digest))
    wrapped = encode(
        ("address", "bytes", "bytes"),
        (factory, selector("deploy", kinds) + arguments, inner + b"\x01"),
    )
    signed = replace(wish, signature=f"0x{(wrapped + ERC6492).hex()}")
    await send(signed, anvil.escrow, anvil.wallet(STRANGER))
    assert await locked(anvil, key) == AMOUNT
    assert await anvil.rpc_escrow.code(payer) != b""


async def test_permit2_funds_in_the_payers_name_once_it_has_an_allowance(
    anvil: AnvilWorld,
) -> None:
    code = built("Permit2Double.sol", "Permit2Double", "deployedBytecode")
    await anvil.devnet.rpc.call("anvil_setCode", to_hex(PERMIT2), to_hex(code))
    payer = anvil.wallet(PAYER)
    key = ChannelKey(PAYER.address, PROVIDER.address, SESSION.address)
    for number in (1, 2):
        await payer.lock(
            PROVIDER.address, SESSION.address, AMOUNT, by=Funding.PERMIT2, intent=str(number)
        )
        assert await locked(anvil, key) == number * AMOUNT
    assert (await anvil.escrow.token_facts(PAYER.address)).permit2_allowance == 0

    token_address = anvil.escrow.deployment.token
    await anvil.devnet.rpc.call("anvil_impersonateAccount", to_hex(PAYER.address))
    approval = token_calls.approve(PERMIT2, AMOUNT).data
    fields = {"from": to_hex(PAYER.address), "to": to_hex(token_address), "data": to_hex(approval)}
    await anvil.devnet.rpc.call("eth_sendTransaction", fields)
    await anvil.mine()
    token = await anvil.escrow.token_facts(PAYER.address)
    deployment = anvil.escrow.deployment
    wish = lock_wish(deployment, key, AMOUNT, token, await until(anvil), Funding.PERMIT2)
    await send(sign(wish, deployment, token, PAYER), anvil.escrow, anvil.wallet(STRANGER))
    assert await locked(anvil, key) == 3 * AMOUNT


@pytest.fixture
async def plain(anvil: AnvilWorld) -> Any:
    """Makes an escrow for another token, with the payer holding some of it."""

    async def make(contract: str) -> RpcEscrow:
        token = await create(anvil, built("Tokens.sol", contract))
        address = await create(anvil, escrow_code(token, 3_600, 7_200, 1_000))
        call = token_calls.mint(PAYER.address, 10 * AMOUNT).data
        fields = {"from": to_hex(anvil.devnet.operator), "to": to_hex(token), "data": to_hex(call)}
        await anvil.devnet.rpc.call("eth_sendTransaction", fields)
        await anvil.devnet.set_balance_wei(PAYER.address, COIN_WEI)
        await anvil.mine()
        return await RpcEscrow.connect([anvil.devnet.rpc], chain_id=CHAIN_ID, escrow=address)

    return make


@pytest.mark.parametrize("contract", ["PlainToken", "StrictToken"])
async def test_a_token_without_signatures_is_funded_by_an_allowance(
    plain: Any, contract: str
) -> None:
    """Also one that, like USDT, refuses to change one allowance into another."""
    escrow: RpcEscrow = await plain(contract)
    log = MemoryTransactionLog()
    wallet = RpcWallet(escrow, PAYER, log, confirmations=0, policy=QUICK)
    facts = await escrow.token_facts(PAYER.address)
    assert (facts.permit_nonce, facts.takes_authorizations) == (None, False)
    key = ChannelKey(PAYER.address, PROVIDER.address, SESSION.address)
    await wallet.lock(PROVIDER.address, SESSION.address, AMOUNT, intent="lock")
    assert [row.intent for row in log.rows] == ["lock/approve", "lock"]
    assert (await escrow.channel(key.id, confirmations=0)).locked == AMOUNT
    for by, words in (
        (Funding.PERMIT, "takes no permits"),
        (Funding.AUTHORIZATION, "takes no authorizations"),
        (Funding.PERMIT2, "Permit2 is not on this chain"),
    ):
        with pytest.raises(UserError, match=words):
            await wallet.lock(PROVIDER.address, SESSION.address, AMOUNT, by=by, intent=str(by))
    # An allowance that was left over is too small for the next lock.
    sender = wallet._sender
    leftover = token_calls.approve(escrow.deployment.domain.escrow, 7)
    await sender.submit("approve", "leftover", escrow.deployment.token, leftover.data)
    await wallet.lock(PROVIDER.address, SESSION.address, AMOUNT, intent="more")
    assert (await escrow.channel(key.id, confirmations=0)).locked == 2 * AMOUNT
    assert [row.intent for row in log.rows][-3:] == ["more/reset", "more/approve", "more"]
    with pytest.raises(UserError, match="takes no signatures"):
        lock_wish(escrow.deployment, key, AMOUNT, await escrow.token_facts(PAYER.address), 2**40)


async def test_a_token_that_only_looks_like_it_takes_permits_is_funded_another_way(
    anvil: AnvilWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DAI has nonces and a domain, and a permit of its own; the escrow would pass over ours."""
    real: Any = token_calls.permit

    def refused(*arguments: Any) -> Any:
        return real(*arguments[:3], 1, *arguments[4:])  # a deadline long past, so it reverts

    monkeypatch.setattr(token_calls, "permit", refused)
    wallet = anvil.wallet(PAYER)
    await wallet.lock(PROVIDER.address, SESSION.address, AMOUNT, intent="lock")
    key = ChannelKey(PAYER.address, PROVIDER.address, SESSION.address)
    assert await locked(anvil, key) == AMOUNT
    (row,) = anvil.journals[PAYER.address, ""].rows
    kinds = (
        "(address,address,address,uint96,bytes32,uint64)",
        "bytes",
    )
    assert selector("lockWithAuthorization", kinds) in row.raw
