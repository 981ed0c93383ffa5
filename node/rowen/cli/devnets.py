"""``rowen devnet``: a chain of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trio
from rich.console import Console

from rowen.chain.devnet import CHAIN_ID, Devnet, open_devnet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import Rpc, from_hex
from rowen.cli.documents import DevnetDocument, FundedDocument
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.people import dollars, facts, to_copy
from rowen.cli.runner import run_async
from rowen.config import load_config
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address, parse_address

BLOCK_TIME_S: Final = 1
FUND_USD: Final = "1000"
GAS_WEI: Final = 10**18
"""What an address gets for gas, beside dollars."""


def run_devnet(port: int, state: Path | None, fund: tuple[str, ...], *, as_json: bool) -> int:
    """Runs a devnet until it is interrupted."""
    addresses = [parse_address(text) for text in fund]

    async def work() -> None:
        async with open_devnet(port=port, state=state, block_time_s=BLOCK_TIME_S) as devnet:
            for address in addresses:
                await give(devnet, address, parse_usd(FUND_USD))
            show(
                _document(devnet, addresses),
                as_json=as_json,
                for_people=lambda screen: _introduce(screen, _document(devnet, addresses)),
            )
            await trio.sleep_forever()

    return run_async(work)


async def give(devnet: Devnet, address: bytes, amount: int) -> None:
    """Test dollars, and gas to spend them."""
    await devnet.set_balance_wei(address, GAS_WEI)
    await devnet.mint(address, amount)


def fund_address(home: Home, text: str, usd: str, *, as_json: bool) -> int:
    """Gives an address test dollars on the devnet that the settings name.

    Raises:
        UserError: The settings name another chain.
    """
    config = load_config(home.config).chain
    address, amount = parse_address(text), parse_usd(usd)

    async def work() -> int:
        rpc = Rpc(config.rpc[0])
        try:
            devnet = await _running(rpc, config.rpc[0], config.escrow)
            await give(devnet, address, amount)
            escrow = await _escrow(rpc, devnet.deployment.domain.escrow)
            document = FundedDocument(
                address=format_address(address),
                amount=str(amount),
                balance=str(await escrow.token_balance(address)),
                gas_wei=str(await escrow.balance_wei(address)),
            )
        finally:
            await rpc.aclose()

        def for_people(screen: Console) -> None:
            screen.print(
                f"gave {dollars(amount)} to {document.address}: it holds "
                f"{dollars(document.balance)} and {int(document.gas_wei) / 10**18:g} ETH for gas"
            )

        show(document, as_json=as_json, for_people=for_people)
        return Exit.OK

    return run_async(work)


async def _running(rpc: Rpc, url: str, escrow: str) -> Devnet:
    if not escrow:
        raise UserError(
            "no escrow contract is set: start `rowen devnet` and put the address it prints into "
            "[chain] escrow, or set ROWEN_CHAIN_ESCROW"
        )
    # Refuses any chain but a development one, whose money is worth nothing.
    reader = await _escrow(rpc, parse_address(escrow))
    (operator, *_) = [from_hex(text, 20) for text in await rpc.call("eth_accounts")]
    return Devnet(url, rpc, reader.deployment, operator)


async def _escrow(rpc: Rpc, escrow: bytes) -> RpcEscrow:
    return await RpcEscrow.connect([rpc], chain_id=CHAIN_ID, escrow=escrow)


def _document(devnet: Devnet, funded: list[bytes]) -> DevnetDocument:
    deployment = devnet.deployment
    return DevnetDocument(
        rpc=devnet.url,
        chain_id=deployment.domain.chain_id,
        escrow=format_address(deployment.domain.escrow),
        stake=format_address(devnet.stake),
        token=format_address(deployment.token),
        unlock_delay_s=deployment.unlock_delay_s,
        block_time_s=BLOCK_TIME_S,
        funded=[format_address(address) for address in funded],
    )


def _introduce(screen: Console, document: DevnetDocument) -> None:
    screen.print("A local chain is running; Ctrl-C ends it.", style="bold")
    pairs = [
        ("rpc", document.rpc),
        ("chain id", str(document.chain_id)),
        ("escrow", document.escrow),
        ("stake", document.stake),
        ("test dollars", document.token),
        ("unlock delay", f"{document.unlock_delay_s} s"),
        ("new block", f"every {document.block_time_s} s"),
    ]
    pairs += [("funded", address) for address in document.funded]
    facts(screen, pairs, indent=2)
    screen.print("To use it, in another terminal:", style="dim")
    to_copy(screen, f"export ROWEN_CHAIN_RPC={document.rpc} ROWEN_CHAIN_ESCROW={document.escrow}")
    to_copy(screen, f"export ROWEN_CHAIN_STAKE={document.stake}")
    if not document.funded:
        to_copy(screen, "rowen devnet fund 0x…        test dollars and gas for an address")
