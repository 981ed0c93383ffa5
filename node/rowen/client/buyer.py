"""The composition root of a client: keys, disk, chain and network behind one buyer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import msgspec
import trio

from rowen.chain.authorizations import Funding
from rowen.chain.base import ChannelKey, TxReceipt, Wallet, fresh_intent
from rowen.chain.calls.escrow import LockPart
from rowen.chain.connect import open_escrow, open_wallet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.keystore import key_address, load_key, sealing_key
from rowen.chain.transactions import Attempt, Outcome
from rowen.client.client import Client, ClientSettings, open_client
from rowen.client.link import provider_of
from rowen.config import Config
from rowen.home import Home
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.ids import format_address, parse_address
from rowen.protocol.signing import Key
from rowen.store.base import ChannelOpened, ChannelStopped, LogSettled, VoucherKept
from rowen.store.journal import SqliteJournal, open_journal

TRANSACTION_S = 300.0


class ChannelReport(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as its buyer sees it, amounts in token units.

    Attributes:
        channel_id: Hexadecimal.
        payer: Address.
        provider: Address.
        signer: Our session key, an address.
        locked: On chain.
        claimed: Of that, taken by the provider.
        owed: By our newest voucher.
        receipts: In our log.
        free: What new jobs may still cost.
        unlock_at_s: When the rest may be taken back; 0 when not asked for.
        stopped: Why the channel is at an end, or empty.
    """

    channel_id: str
    payer: str
    provider: str
    signer: str
    locked: int
    claimed: int
    owed: int
    receipts: int
    free: int
    unlock_at_s: int
    stopped: str


class Buyer:
    """A client's keys and channels. ``open_buyer`` makes it.

    Attributes:
        payer: Wallet whose channels it uses, 20 bytes.
        escrow: The deployment it pays through.
        client: Buys answers; None when opened without a network.
    """

    def __init__(
        self,
        *,
        home: Home,
        config: Config,
        password: str,
        key: Key,
        payer: bytes,
        escrow: RpcEscrow,
        journal: SqliteJournal,
    ) -> None:
        self.payer = payer
        self.escrow = escrow
        self.client: Client | None = None
        self._home = home
        self._config = config
        self._password = password
        self._key = key
        self._journal = journal

    @property
    def signer(self) -> bytes:
        """Our session key's address."""
        return self._key.address

    def key_of(self, provider: bytes) -> ChannelKey:
        """What names our channel with a provider."""
        return ChannelKey(self.payer, provider, self._key.address)

    async def open_channel(
        self, provider: bytes, amount: int, by: Funding | None = None
    ) -> TxReceipt:
        """Locks more for a provider; the first time this opens the channel.

        Args:
            provider: 20 bytes.
            amount: Token units.
            by: How; see ``Wallet.lock``.

        Raises:
            UserError: Too few tokens or too little gas money, or the wallet is not here.
            Unavailable: The chain does not answer in time; the transaction stays pending.
        """
        wallet = await self._wallet()
        # Before the money moves: whoever dies meanwhile must find where it is.
        await self.remember(provider)
        with _patience():
            return await wallet.lock(
                provider, self._key.address, amount, intent=fresh_intent("lock"), by=by
            )

    async def open_channels(self, providers: Sequence[bytes], amount: int) -> TxReceipt:
        """Locks as much more for each of many providers, all or none; raises as the above."""
        wallet = await self._wallet()
        parts = [LockPart(provider, self._key.address, amount) for provider in providers]
        for provider in providers:
            await self.remember(provider)
        with _patience():
            return await wallet.lock_many(parts, intent=fresh_intent("lock"))

    async def cancel_unlock(self, provider: bytes) -> TxReceipt:
        """Takes the request for what is left of a channel back.

        Raises:
            UserError: The contract refuses, or the wallet is not here.
            Unavailable: The chain does not answer in time.
        """
        wallet = await self._wallet()
        with _patience():
            return await wallet.cancel_unlock(
                provider, self._key.address, intent=fresh_intent("cancel-unlock")
            )

    async def request_unlock(self, provider: bytes) -> TxReceipt:
        """Asks for what is left of a channel; it can be taken after the escrow's delay.

        Raises:
            UserError: The contract refuses, or the wallet is not here.
            Unavailable: The chain does not answer in time.
        """
        wallet = await self._wallet()
        with _patience():
            return await wallet.request_unlock(
                provider, self._key.address, intent=fresh_intent("request-unlock")
            )

    async def unlock(self, provider: bytes) -> TxReceipt:
        """Takes what is left of a channel, once the delay is over; it goes to the payer.

        Raises:
            UserError: Too early.
            Unavailable: The chain does not answer in time.
        """
        # Anybody may, so the wallet here only pays the gas.
        wallet = await self._wallet(must_pay=False)
        with _patience():
            return await wallet.unlock(self.key_of(provider), intent=fresh_intent("unlock"))

    async def channels(self) -> list[ChannelReport]:
        """Every channel this client used, and those funded for its known providers."""
        keys = {
            opened.channel_id: ChannelKey(opened.payer, opened.provider, opened.signer)
            for opened in await self._journal.openings("buyer")
        }
        for address in self._config.client.providers:
            key = self.key_of(provider_of(address))
            keys.setdefault(key.id, key)
        reports = [await self._report(key) for key in keys.values()]
        return [r for r in reports if r.locked or r.receipts]

    async def channel(self, provider: bytes) -> ChannelReport:
        """Our channel with one provider."""
        return await self._report(self.key_of(provider))

    async def remember(self, provider: bytes) -> None:
        """Has ``channels`` list a channel that no job has used yet."""
        key = self.key_of(provider)
        domain = self.escrow.deployment.domain
        opened = ChannelOpened(
            channel_id=key.id,
            role="buyer",
            chain_id=domain.chain_id,
            escrow=domain.escrow,
            payer=key.payer,
            provider=key.provider,
            signer=key.signer,
        )
        await self._journal.append(opened)

    async def _report(self, key: ChannelKey) -> ChannelReport:
        view = await self.escrow.channel(key.id, confirmations=0)
        owed = receipts = 0
        stopped = ""
        async for entry in self._journal.to_replay(key.id):
            if isinstance(entry, LogSettled):
                owed, receipts = entry.log().total, entry.receipt_count
            elif isinstance(entry, VoucherKept):
                owed, receipts = entry.total, entry.receipt_count
            elif isinstance(entry, ChannelStopped):
                stopped = stopped or entry.detail
        return ChannelReport(
            channel_id="0x" + key.id.hex(),
            payer=format_address(key.payer),
            provider=format_address(key.provider),
            signer=format_address(key.signer),
            locked=view.locked,
            claimed=view.claimed,
            owed=owed,
            receipts=receipts,
            free=max(0, view.locked - max(owed, view.claimed)),
            unlock_at_s=view.unlock_at_s,
            stopped=stopped,
        )

    async def _wallet(self, *, must_pay: bool = True) -> Wallet:
        key = await load_key(self._home.wallet_key, self._password)
        if must_pay and key.address != self.payer:
            raise UserError(
                f"channels are paid by {format_address(self.payer)}, whose key is not here: "
                "have that wallet sign with `rowen channel sign --elsewhere`, or empty "
                "[client] payer"
            )
        log = self._journal.transactions(self._config.chain.chain_id, Attempt, Outcome)
        return await open_wallet(self.escrow, key, log, self._config.chain)


@contextmanager
def _patience() -> Iterator[None]:
    """Turns a transaction that is not mined in time into ``Unavailable``."""
    try:
        with trio.fail_after(TRANSACTION_S):
            yield
    except trio.TooSlowError as error:
        raise Unavailable(
            f"the transaction was sent but is not mined after {TRANSACTION_S:g} s; it may still "
            "be: look at `rowen channel list` before sending another"
        ) from error


async def _payer(home: Home, config: Config) -> bytes:
    if config.client.payer:
        return parse_address(config.client.payer)
    return await key_address(home.wallet_key)


@asynccontextmanager
async def open_buyer(
    home: Home, config: Config, password: str, *, network: bool = True
) -> AsyncIterator[Buyer]:
    """A buyer, with the journal locked to this process.

    Args:
        home: Where its files are.
        config: Its settings.
        password: Of its keys.
        network: Whether to be able to talk to providers; the chain is always there.

    Raises:
        UserError: Something a person has to change: key, chain, escrow…
        Unavailable: Disk or chain does not answer.
    """
    key = await load_key(home.session_key, password)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            open_journal(home.buyer_journal, sealing_key(key))
        )
        escrow = await stack.enter_async_context(open_escrow(config.chain))
        payer = await _payer(home, config)
        buyer = Buyer(
            home=home,
            config=config,
            password=password,
            key=key,
            payer=payer,
            escrow=escrow,
            journal=journal,
        )
        if network:
            from rowen.p2p.host import open_network

            host = await stack.enter_async_context(open_network(key.secret))
            found = None
            if config.client.mdns:
                from rowen.p2p.discovery import discover

                found = await stack.enter_async_context(discover(host))
            buyer.client = await stack.enter_async_context(
                open_client(
                    key=key,
                    network=host,
                    escrow=escrow,
                    journal=journal,
                    settings=ClientSettings(
                        payer=payer,
                        providers=config.client.providers,
                        confirmations=config.chain.confirmations,
                        busy_wait_s=config.client.busy_wait_s,
                    ),
                    found=found,
                )
            )
        yield buyer
