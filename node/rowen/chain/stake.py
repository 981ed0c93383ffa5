"""The stake through JSON-RPC: read from all endpoints, written through the first."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from rowen.chain.base import TxReceipt
from rowen.chain.calls import stake as calls
from rowen.chain.calls import token as token_calls
from rowen.chain.codec import Call
from rowen.chain.contract import artifact, decode_revert
from rowen.chain.escrow import RpcEscrow
from rowen.chain.events import Slashed
from rowen.chain.funding import allow
from rowen.chain.refusals import Reverted, TooFewTokens
from rowen.chain.rpc import RpcError, to_hex
from rowen.chain.sender import Sender
from rowen.chain.staking import BondView, Penalty, SlashResult, StakeDeployment, penalty_of
from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.fraud import Offence, Proof, check
from rowen.protocol.ids import format_address
from rowen.protocol.messages import Signed
from rowen.protocol.statements import Receipt

T = TypeVar("T")


class RpcStake:
    """See ``staking.Stake``. Make one with ``connect``.

    Attributes:
        escrow: Whose receipts count and whose token it holds.
        deployment: The stake's constants.
    """

    def __init__(self, escrow: RpcEscrow, deployment: StakeDeployment) -> None:
        self.escrow = escrow
        self.deployment = deployment

    @classmethod
    async def connect(cls, escrow: RpcEscrow, address: bytes) -> Self:
        """Checks that our contract stands there, and belongs to the escrow.

        Raises:
            UserError: It is something else, or another escrow's.
            Unavailable: An endpoint does not answer, or they disagree.
        """
        code = await escrow.code(address)
        where = f"{format_address(address)} on chain {escrow.deployment.domain.chain_id}"
        if not code:
            raise UserError(f"there is no contract at {where}: correct chain.stake")
        if not artifact("RowenStake").matches(code):
            raise UserError(
                f"the contract at {where} is not this version's RowenStake: correct chain.stake,"
                " or install the version of Rowen that belongs to it"
            )
        owner = await escrow.view(calls.escrow(), to=address)
        if owner != escrow.deployment.domain.escrow:
            raise UserError(
                f"the stake at {where} belongs to the escrow {format_address(owner)}: correct"
                " chain.stake or chain.escrow"
            )
        deployment = StakeDeployment(
            address=address,
            unbond_delay_s=await escrow.view(calls.unbond_delay(), to=address),
            penalty=await escrow.view(calls.penalty(), to=address),
        )
        return cls(escrow, deployment)

    async def bond(self, provider: bytes) -> BondView:
        """See ``Stake``."""
        return BondView(*await self._view(calls.bonds(provider)))

    async def paid_for(self, proof: Proof) -> int:
        """See ``Stake``."""
        channel = proof.channel
        return await self._view(
            calls.paid_for(channel.provider, proof.offence, channel.id, proof.sequence())
        )

    async def expected(self, proof: Proof) -> Penalty:
        """See ``Stake``."""
        bond = await self.bond(proof.channel.provider)
        return penalty_of(bond.amount, self.deployment.penalty - await self.paid_for(proof))

    async def rehearse(self, proof: Proof, reporter: bytes) -> None:
        """Has the contract judge a proof, and changes nothing.

        Raises:
            PeerError: The receipts prove nothing.
            Reverted: The contract would refuse the report.
        """
        check(proof, self.escrow.deployment.domain)
        call, rpc = slash_call(proof), self.escrow.endpoints[0]
        fields = {
            "from": to_hex(reporter),
            "to": to_hex(self.deployment.address),
            "data": to_hex(call.data),
        }
        try:
            await rpc.call("eth_call", fields, "latest")
        except RpcError as error:
            if not error.data and "revert" not in error.reason:
                raise
            raise decode_revert(call.name, error.data) from error

    async def _view(self, call: Call[T]) -> T:
        return await self.escrow.view(call, to=self.deployment.address)


class RpcStakeWallet:
    """See ``staking.StakeWallet``. Shares its sender with the key's ``RpcWallet``.

    Attributes:
        address: The sender, 20 bytes.
    """

    def __init__(self, stake: RpcStake, sender: Sender) -> None:
        self.address = sender.address
        self._stake = stake
        self._sender = sender

    async def bond(self, provider: bytes, amount: int, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        if not await self._sender.is_known(intent):
            await self._require_enough(provider, amount)
            await self._allow(amount, intent)
        return await self._call(calls.bond(provider, amount), intent)

    async def request_unbond(self, provider: bytes, amount: int, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        return await self._call(calls.request_unbond(provider, amount), intent)

    async def cancel_unbond(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        return await self._call(calls.cancel_unbond(provider), intent)

    async def withdraw(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        return await self._call(calls.withdraw(provider), intent)

    async def slash(self, proof: Proof, *, intent: str) -> SlashResult:
        """See ``StakeWallet``."""
        check(proof, self._stake.escrow.deployment.domain)
        call = slash_call(proof)
        to = self._stake.deployment.address
        mined = await self._sender.submit(call.name, intent, to, call.data)
        for event in mined.events:
            if isinstance(event, Slashed):
                return SlashResult(mined.receipt, Penalty(event.burned, event.reward))
        raise Unavailable(f"the slash 0x{mined.receipt.hash.hex()} shows no Slashed event")

    async def _require_enough(self, provider: bytes, amount: int) -> None:
        """What the contract would refuse, before an allowance for it is paid for and stays."""
        missing = amount - await self._stake.escrow.token_balance(self.address)
        if missing > 0:
            raise TooFewTokens(self.address, missing, f"to bond {format_usd(amount)}")
        bonded = (await self._stake.bond(provider)).amount + amount
        if bonded < self._stake.deployment.penalty:
            raise Reverted("bond", "BondBelowPenalty", (bonded, self._stake.deployment.penalty))

    async def _allow(self, amount: int, intent: str) -> None:
        escrow, spender = self._stake.escrow, self._stake.deployment.address
        token = escrow.deployment.token
        allowance = await escrow.view(token_calls.allowance(self.address, spender), to=token)
        # The bond takes an allowance only: an ERC-2612 permit would need the same transactions.
        await allow(self._sender, token, spender, amount, allowance, intent)

    async def _call(self, call: Call[Any], intent: str) -> TxReceipt:
        to = self._stake.deployment.address
        try:
            return (await self._sender.submit(call.name, intent, to, call.data)).receipt
        except Reverted as error:
            if error.error == "NotProvider":
                raise UserError(
                    f"{format_address(self.address)} may not decide over this bond: only the"
                    " provider and its payout address do"
                ) from error
            raise


def slash_call(proof: Proof) -> Call[None]:
    """The call that reports a proof."""
    channel = (proof.channel.payer, proof.channel.provider, proof.channel.signer)
    receipts = [_signed_receipt(signed) for signed in proof.receipts]
    if proof.offence is Offence.CHARGED_FAILURE:
        return calls.slash_charged_failure(*channel, receipts[0])
    slash = (
        calls.slash_equivocation
        if proof.offence is Offence.EQUIVOCATION
        else calls.slash_broken_total
    )
    return slash(*channel, receipts[0], receipts[1])


def _signed_receipt(signed: Signed) -> calls.SignedReceipt:
    receipt = Receipt.decode(signed.words)
    words = calls.Receipt(
        channel_id=receipt.channel_id,
        sequence=receipt.sequence,
        order_hash=receipt.order_hash,
        segment=receipt.segment,
        status=receipt.status,
        input_units=receipt.input_units,
        cached_units=receipt.cached_units,
        output_units=receipt.output_units,
        amount=receipt.amount,
        total=receipt.total,
        output_hash=receipt.output_hash,
        started_at_ms=receipt.started_at_ms,
        finished_at_ms=receipt.finished_at_ms,
        gpu_ms=receipt.gpu_ms,
        energy_mj=receipt.energy_mj,
        energy_source=receipt.energy_source,
    )
    return calls.SignedReceipt(words, signed.signature[:32], signed.signature[32:])
