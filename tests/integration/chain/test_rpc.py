"""Endpoints that are dead, slow, wrong or lying (threats 38–40)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from rowen.chain.devnet import CHAIN_ID
from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import Rpc, RpcError
from rowen.protocol.errors import Unavailable, UserError

from .conftest import CHANNEL, PAYER, PROVIDER, SESSION, AnvilWorld
from .proxies import Answer, http, passing_through, serve, serve_rpc


def replies(response: bytes) -> Callable[[bytes], Awaitable[bytes]]:
    async def respond(_body: bytes) -> bytes:
        return response

    return respond


@pytest.mark.parametrize(
    "response",
    [
        http(b"", "500 Internal Server Error"),
        http(b"slow down", "429 Too Many Requests"),
        http(b"<html>a login page</html>"),
        http(b"[]"),
        http(b"null"),
        http(b"{}"),
        http(b'"0x1"'),
        http(b"", "302 Found", "Location: http://127.0.0.1:9/elsewhere\r\n"),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_json_rpc_is_unavailable(response: bytes) -> None:
    async with serve(replies(response)) as url:
        rpc = Rpc(url, timeout_s=5)
        with pytest.raises(Unavailable):
            await rpc.call("eth_blockNumber")
        with pytest.raises(Unavailable):
            await rpc.batch([("eth_blockNumber", ())] * 2)
        await rpc.aclose()


@pytest.mark.parametrize("result", [None, 7, "7", "0xzz", {"number": "0x1"}, ["0x1"], "0x"])
async def test_a_result_of_the_wrong_shape_is_unavailable(anvil: AnvilWorld, result: Any) -> None:
    async def answer(_method: str, _params: list[Any]) -> Any:
        return result

    async with serve_rpc(answer) as url:
        rpc = Rpc(url)
        escrow = RpcEscrow([rpc], anvil.rpc_escrow.deployment)
        for read in (
            escrow.head(),
            escrow.credit(PROVIDER.address),
            escrow.channel(CHANNEL.id, confirmations=0),
            escrow.balance_wei(PAYER.address),
        ):
            with pytest.raises(Unavailable):
                await read
        await rpc.aclose()


async def test_a_dead_endpoint_is_named_without_its_access_key() -> None:
    async with serve(replies(b"")) as url:
        pass  # and now nobody listens there
    rpc = Rpc(f"{url}/v3/secret-access-key?token=hidden")
    with pytest.raises(Unavailable) as caught:
        await rpc.call("eth_blockNumber")
    assert url in str(caught.value)
    assert "secret" not in str(caught.value) + repr(rpc)
    assert "hidden" not in str(caught.value) + repr(rpc)
    await rpc.aclose()


async def test_an_endpoint_that_hangs_is_unavailable_after_its_time() -> None:
    async def never(_body: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with serve(never) as url:
        rpc = Rpc(url, timeout_s=0.3)
        with pytest.raises(Unavailable, match="does not answer"):
            await rpc.call("eth_blockNumber")
        await rpc.aclose()


async def test_a_cancelled_question_does_not_wait_for_the_answer() -> None:
    async def never(_body: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with serve(never) as url:
        rpc = Rpc(url, timeout_s=3)
        await rpc._open()
        with trio.move_on_after(0.05) as scope:
            await rpc.call("eth_blockNumber")
        assert scope.cancelled_caught
        await rpc.aclose()


@pytest.mark.parametrize("url", ["", "localhost:8545", "ftp://host/", "http://", "http://[::1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="URL"):
        Rpc(url)


async def test_another_chain_is_named_with_both_ids(anvil: AnvilWorld) -> None:
    escrow = anvil.rpc_escrow.deployment.domain.escrow
    with pytest.raises(UserError, match=f"on chain {CHAIN_ID}, expected 1"):
        await RpcEscrow.connect([anvil.devnet.rpc], chain_id=1, escrow=escrow)


async def test_an_address_without_code_is_refused(anvil: AnvilWorld) -> None:
    with pytest.raises(UserError, match="no contract at"):
        await RpcEscrow.connect([anvil.devnet.rpc], chain_id=CHAIN_ID, escrow=PAYER.address)


async def test_another_contract_is_refused(anvil: AnvilWorld) -> None:
    token = anvil.rpc_escrow.deployment.token
    with pytest.raises(UserError, match="not this version's RowenEscrow"):
        await RpcEscrow.connect([anvil.devnet.rpc], chain_id=CHAIN_ID, escrow=token)


async def test_our_contract_is_known_whatever_its_constants(anvil: AnvilWorld) -> None:
    deployment = anvil.rpc_escrow.deployment
    escrow = await RpcEscrow.connect(
        [anvil.devnet.rpc], chain_id=CHAIN_ID, escrow=deployment.domain.escrow
    )
    assert escrow.deployment == deployment


def _tampering(honest: Answer, lie: Callable[[str, list[Any], Any], Any]) -> Answer:
    async def answer(method: str, params: list[Any]) -> Any:
        return lie(method, params, await honest(method, params))

    return answer


async def test_two_endpoints_that_agree_are_as_good_as_one(anvil: AnvilWorld) -> None:
    await anvil.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 5_000, intent="lock")
    async with serve_rpc(passing_through(anvil.devnet.rpc)) as url:
        other = Rpc(url)
        both = RpcEscrow([anvil.devnet.rpc, other], anvil.rpc_escrow.deployment)
        assert (await both.channel(CHANNEL.id, confirmations=0)).locked == 5_000
        head = await both.head()
        assert len(await both.events(await both.blocks(0, head.number))) == 1
        await other.aclose()


@pytest.mark.parametrize("liar", [0, 1])
async def test_an_endpoint_that_lies_is_found_out_by_the_other(
    anvil: AnvilWorld, liar: int
) -> None:
    """Threat 39: balances that are too high, and logs left out."""
    await anvil.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 5_000, intent="lock")

    def lie(method: str, _params: list[Any], truth: Any) -> Any:
        if method == "eth_call":
            return "0x" + (10**12).to_bytes(32, "big").hex() + truth[66:]
        return [] if method == "eth_getLogs" else truth

    honest = passing_through(anvil.devnet.rpc)
    async with serve_rpc(_tampering(honest, lie)) as url:
        other = Rpc(url)
        endpoints = [anvil.devnet.rpc, other][:: 1 if liar else -1]
        both = RpcEscrow(endpoints, anvil.rpc_escrow.deployment)
        with pytest.raises(Unavailable, match="disagree about channel"):
            await both.channel(CHANNEL.id, confirmations=0)
        head = await both.head()
        with pytest.raises(Unavailable, match="disagree about events"):
            await both.events([head])
        await other.aclose()


async def test_with_an_endpoint_that_lags_the_older_height_is_read(anvil: AnvilWorld) -> None:
    head = await anvil.escrow.head()

    def lag(method: str, _params: list[Any], truth: Any) -> Any:
        return hex(int(truth, 16) - 2) if method == "eth_blockNumber" else truth

    async with serve_rpc(_tampering(passing_through(anvil.devnet.rpc), lag)) as url:
        other = Rpc(url)
        both = RpcEscrow([anvil.devnet.rpc, other], anvil.rpc_escrow.deployment)
        assert (await both.head()).number == head.number - 2
        await other.aclose()


async def test_a_contract_cannot_make_the_node_fetch_a_url(anvil: AnvilWorld) -> None:
    """Threat 40. EIP-3668: "clients that support CCIP read MUST perform the lookup"; not ours."""
    fetched = []

    async def trap(body: bytes) -> bytes:
        fetched.append(body)
        return http(b'{"data":"0x"}')

    async with serve(trap) as trap_url:
        text = (trap_url + "/{sender}/{data}").encode()
        # OffchainLookup(address,string[],bytes,bytes4,bytes), selector 0x556f1830
        words = [int.from_bytes(anvil.rpc_escrow.deployment.domain.escrow, "big"), 160, 320, 0, 352]
        words += [1, 32, len(text)]
        data = bytes.fromhex("556f1830") + b"".join(w.to_bytes(32, "big") for w in words)
        data += text.ljust(64, b"\0") + bytes(64)

        async def answer(method: str, _params: list[Any]) -> Any:
            if method == "eth_blockNumber":
                return "0x1"
            raise RpcError("", method, "execution reverted", data)

        async with serve_rpc(answer) as url:
            rpc = Rpc(url)
            escrow = RpcEscrow([rpc], anvil.rpc_escrow.deployment)
            with pytest.raises(RpcError):
                await escrow.credit(PROVIDER.address)
            provider = await rpc._open()
            assert provider.global_ccip_read_enabled is False
            await rpc.aclose()
    assert fetched == []
