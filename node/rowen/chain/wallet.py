"""One key's hand on the escrow, through JSON-RPC: each method is one call of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rowen.chain.base import ChannelKey, ClaimResult, Spent, TxReceipt, pack_rows
from rowen.chain.contract import encode_call, encode_claim, encode_words
from rowen.chain.escrow import RpcEscrow
from rowen.chain.mined import Mined
from rowen.chain.rpc import RpcError, from_hex, to_hex
from rowen.chain.sender import Sender
from rowen.chain.spending import read_spent
from rowen.chain.transactions import FeePolicy, TransactionLog
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address, keccak
from rowen.protocol.signing import Key
from rowen.protocol.statements import Release

PERMIT_LIFE_S: Final = 86_400
"""A permit outlives a stuck transaction, and not its purpose."""

_PERMIT_TYPE_HASH: Final = keccak(
    b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)

# Gas of a claim, rounded up from the measured 46,830 for one row and 14,214 for each of a
# hundred, and 17,100 more for a provider's first credit. The estimate alone could be too low:
# a row that it saw skipped may pay by the time it is mined.
_CLAIM_GAS: Final = 65_000
_CLAIM_ROW_GAS: Final = 18_000


class RpcWallet:
    """See ``Wallet`` for the methods.

    Attributes:
        address: The sender, 20 bytes.
    """

    def __init__(
        self,
        escrow: RpcEscrow,
        key: Key,
        journal: TransactionLog,
        *,
        confirmations: int,
        policy: FeePolicy | None = None,
    ) -> None:
        """Writes through the escrow's first endpoint.

        Args:
            escrow: The contracts.
            key: Signs here, on this machine, and is sent nowhere.
            journal: Of this chain.
            confirmations: Blocks on top of a transaction before a call returns.
            policy: What a transaction may cost.
        """
        self.address = key.address
        self._escrow = escrow
        self._rpc = escrow.endpoints[0]
        self._key = key
        self._journal = journal
        self._sender = Sender(
            self._rpc,
            escrow.deployment.domain.chain_id,
            key,
            journal,
            confirmations=confirmations,
            policy=policy or FeePolicy(),
        )

    def __repr__(self) -> str:
        return f"RpcWallet({format_address(self.address)})"

    async def recover(self) -> None:
        """See ``Wallet``."""
        await self._sender.recover()

    async def finish(self) -> None:
        """See ``Wallet``."""
        await self._sender.finish()

    async def gas_price_wei(self) -> int:
        """See ``Wallet``."""
        return sum(await self._sender.prices())

    async def spent(self) -> list[Spent]:
        """See ``Wallet``."""
        return await read_spent(self._rpc, await self._journal.settled(self.address))

    async def lock(self, provider: bytes, signer: bytes, amount: int, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        if await self._sender.is_known(intent):  # with the permit it has
            return (await self._submit("lock", b"", intent)).receipt
        missing = amount - await self._escrow.token_balance(self.address)
        if missing > 0:
            raise UserError(
                f"{format_address(self.address)} needs {missing} more token units to lock {amount}"
            )
        deadline_s = (await self._escrow.head()).timestamp_s + PERMIT_LIFE_S
        digest = await self._permit_digest(amount, deadline_s)
        signature = self._key.sign(digest)
        r, vs = signature[:32], int.from_bytes(signature[32:], "big")
        parity, s = vs >> 255, vs & (2**255 - 1)  # EIP-2098
        return await self._call(
            "lockWithPermit(address,address,uint96,uint256,uint8,bytes32,bytes32)",
            provider, signer, amount, deadline_s, 27 + parity, r, s,
            intent=intent,
        )  # fmt: skip

    async def claim(self, provider: bytes, rows: Sequence[bytes], *, intent: str) -> ClaimResult:
        """See ``Wallet``."""
        mined = await self._submit(
            "claim",
            encode_claim(provider, pack_rows(rows)),
            intent,
            gas_min=_CLAIM_GAS + _CLAIM_ROW_GAS * len(rows),
        )
        return ClaimResult.read(mined.receipt, mined.events, len(rows))

    async def sweep(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call("sweep(address)", provider, intent=intent)

    async def request_payout(self, payout: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call("requestPayout(address)", payout, intent=intent)

    async def apply_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call("applyPayout(address)", provider, intent=intent)

    async def veto_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call("vetoPayout(address)", provider, intent=intent)

    async def request_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call("requestUnlock(address,address)", provider, signer, intent=intent)

    async def cancel_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call("cancelUnlock(address,address)", provider, signer, intent=intent)

    async def unlock(self, channel: ChannelKey, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(
            "unlock(address,address,address)",
            channel.payer, channel.provider, channel.signer,
            intent=intent,
        )  # fmt: skip

    async def release(
        self, channel: ChannelKey, release: Release, signature: bytes, *, intent: str
    ) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(
            "release(address,address,address,uint96,uint64,bytes32,bytes32)",
            channel.payer, channel.signer, channel.provider,
            release.total, release.deadline_s, signature[:32], signature[32:],
            intent=intent,
        )  # fmt: skip

    async def _call(self, signature: str, *values: int | bytes, intent: str) -> TxReceipt:
        name = signature.partition("(")[0]
        return (await self._submit(name, encode_call(signature, *values), intent)).receipt

    async def _submit(self, name: str, data: bytes, intent: str, *, gas_min: int = 0) -> Mined:
        to = self._escrow.deployment.domain.escrow
        return await self._sender.submit(name, intent, to, data, gas_min=gas_min)

    async def _permit_digest(self, amount: int, deadline_s: int) -> bytes:
        """What the token's owner signs, 32 bytes. Source: ERC-2612.

        The domain separator is the token's own word. A lying endpoint gains nothing by it:
        such a permit lets only the escrow spend, and the escrow takes only its own token.
        """
        separator = await self._token_word(encode_call("DOMAIN_SEPARATOR()"))
        nonce = await self._token_word(encode_call("nonces(address)", self.address))
        escrow = self._escrow.deployment.domain.escrow
        words = encode_words(_PERMIT_TYPE_HASH, self.address, escrow, amount, nonce, deadline_s)
        return keccak(b"\x19\x01" + separator + keccak(words))

    async def _token_word(self, call: bytes) -> bytes:
        token = self._escrow.deployment.token
        fields = {"to": to_hex(token), "data": to_hex(call)}
        try:
            answer = await self._rpc.call("eth_call", fields, "latest")
        except RpcError as error:
            raise UserError(
                f"the token {format_address(token)} takes no permits (ERC-2612): {error.reason}"
            ) from error
        with self._rpc.reading("eth_call"):
            return from_hex(answer, 32)
