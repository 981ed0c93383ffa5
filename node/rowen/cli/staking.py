"""``rowen stake``: a provider's bond, looked at and changed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from rich.console import Console

from rowen.chain.connect import open_escrow, open_stake
from rowen.cli.acting import KeyName, perform
from rowen.cli.chain_documents import StakeDocument
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.payouts import provider_or_own
from rowen.cli.people import dollars, facts, to_copy, transaction
from rowen.cli.runner import run_async
from rowen.cli.settling import transaction_of
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address
from rowen.provider.questions import Acting, Action
from rowen.provider.reports import TransactionReport

Step = Literal["shown", "bonded", "requested", "cancelled", "withdrawn"]
_ACTION_TO_STEP: dict[Action, Step] = {
    "stake-bond": "bonded",
    "stake-unbond": "requested",
    "stake-cancel": "cancelled",
    "stake-withdraw": "withdrawn",
}


def show_stake(home: Home, provider: str, *, as_json: bool) -> int:
    """Prints a bond."""
    config = load_config(home.config)

    async def work() -> int:
        address = await provider_or_own(home, provider)
        await _show(config, address, "shown", None, as_json=as_json)
        return Exit.OK

    return run_async(work)


def change_stake(
    home: Home,
    password_file: Path | None,
    action: Action,
    provider: str,
    key: KeyName,
    usd: str = "0",
    *,
    as_json: bool,
) -> int:
    """Does one action of ``acting.act``, and prints the bond after it."""
    config = load_config(home.config)
    amount = parse_usd(usd)
    if not amount and action in ("stake-bond", "stake-unbond"):
        raise UserError("a bond changes by more than $0")

    async def work() -> int:
        address = await provider_or_own(home, provider)
        asked = Acting(action=action, provider=format_address(address), amount=str(amount))
        done = await perform(home, config, password_file, key, asked)
        await _show(config, address, _ACTION_TO_STEP[action], done, amount, as_json=as_json)
        return Exit.OK

    return run_async(work)


async def _show(
    config: Config,
    provider: bytes,
    step: Step,
    done: TransactionReport | None,
    asked: int = 0,
    *,
    as_json: bool,
) -> None:
    async with open_escrow(config.chain) as escrow:
        stake = await open_stake(escrow, config.chain)
        bond = await stake.bond(provider)
    document = StakeDocument(
        stake=format_address(stake.deployment.address),
        provider=format_address(provider),
        bonded=str(bond.amount),
        active=str(bond.active),
        leaving=str(bond.leaving),
        leave_at_s=bond.leave_at_s,
        unbond_delay_s=stake.deployment.unbond_delay_s,
        penalty=str(stake.deployment.penalty),
        step=step,
        transaction=None if done is None else transaction_of(done),
    )
    show(document, as_json=as_json, for_people=lambda screen: _print_stake(screen, document, asked))


def _print_stake(screen: Console, document: StakeDocument, asked: int) -> None:
    pairs = [
        ("provider", document.provider),
        ("at stake", dollars(document.bonded)),
        ("clients count", dollars(document.active)),
        ("one offence costs", dollars(document.penalty)),
    ]
    if int(document.leaving):
        when = datetime.fromtimestamp(document.leave_at_s).astimezone()
        pairs.append(("leaving", dollars(document.leaving)))
        pairs.append(("from", when.strftime("%Y-%m-%d %H:%M:%S %Z")))
    facts(screen, pairs)
    if document.step == "requested":
        if int(document.leaving) > asked:
            screen.print("For what was asked back before, the delay began anew.")
        screen.print("It can be slashed until it has left. Then, from any node:")
        to_copy(screen, f"rowen stake withdraw --provider {document.provider}")
    if document.transaction is not None:
        transaction(screen, document.transaction)
