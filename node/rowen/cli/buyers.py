"""Opens the buyer of a home for one command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

# Imported for its time only: before trio runs, Ctrl-C ends an import of seconds at once.
import rowen.p2p.host  # noqa: F401 - see above
from rowen.chain.base import TxReceipt
from rowen.cli.documents import Transaction
from rowen.cli.passwords import password_for
from rowen.client.buyer import Buyer, open_buyer
from rowen.client.client import Client
from rowen.client.link import provider_of
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.log import set_up_logs
from rowen.protocol.errors import UserError


class Session:
    """What a buying command needs before trio starts: settings and the password.

    Attributes:
        home: Whose.
        config: Its settings, with the providers that were named on the command line.
        only: Addresses of the named providers; empty for all.
    """

    def __init__(self, home: Home, password_file: Path | None, named: Sequence[str] = ()) -> None:
        set_up_logs("error")
        self.home = home
        config = load_config(home.config)
        self.only = frozenset(provider_of(text) for text in named)
        self.config = with_providers(config, named)
        self._password = password_for(home, password_file)

    @asynccontextmanager
    async def buyer(self, *, network: bool) -> AsyncIterator[Buyer]:
        """The buyer, as long as the block lasts."""
        async with open_buyer(self.home, self.config, self._password, network=network) as buyer:
            yield buyer

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Its client, on the network.

        Raises:
            UserError: No provider is known.
        """
        if not self.config.client.providers:
            raise UserError(
                "no provider is known: name one with --provider /ip4/…/p2p/…, or list them in "
                "[client] providers"
            )
        async with self.buyer(network=True) as buyer:
            assert buyer.client is not None
            yield buyer.client


def with_providers(config: Config, named: Sequence[str]) -> Config:
    """The settings with the multiaddresses among the names; a 0x address adds no place to dial.

    Raises:
        UserError: A 0x address of a provider that no multiaddress is known of.
    """
    known = {provider_of(address): address for address in config.client.providers}
    for text in named:
        provider = provider_of(text)
        if not text.startswith("0x"):
            known[provider] = text
        elif provider not in known:
            raise UserError(
                f"where {text} can be reached is not known: name its multiaddress, which "
                "`rowen serve` and `rowen status` print there"
            )
    return replace(config, client=replace(config.client, providers=tuple(known.values())))


def transaction_of(receipt: TxReceipt) -> Transaction:
    """A transaction as a document."""
    return Transaction(
        hash="0x" + receipt.hash.hex(),
        block=receipt.block.number,
        gas_used=receipt.gas_used,
        fee_wei=str(receipt.fee_wei),
    )
