"""Credit goes to the payout address, and an owner may have that changed."""

from __future__ import annotations

from rowen.chain.base import Escrow, TxReceipt, Wallet, fresh_intent
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address
from rowen.provider.reports import PayoutReport, TransactionReport, WithdrawReport

SWEEP_GAS = 60_000
"""Of a sweep, rounded up from the measured 37,824 for a payout address that never held tokens."""


async def withdraw(escrow: Escrow, wallet: Wallet, *, is_wished: bool) -> WithdrawReport:
    """Sends the credit to the payout address, or says what would be sent.

    A new payout address whose delay is over is put in force first.

    Raises:
        Unavailable: The chain does not answer; what was sent stays pending.
        UserError: No payout address is set, or too little gas money.
    """
    provider = wallet.address
    if is_wished:
        await apply_due(escrow, wallet)
        await payout_elsewhere(escrow, provider)
    credit = await escrow.credit(provider)
    payout = await escrow.payout(provider)
    receipt: TxReceipt | None = None
    if is_wished and credit:
        receipt = await wallet.sweep(provider, intent=fresh_intent("sweep"))
    return WithdrawReport(
        credit=credit,
        payout=format_address(payout),
        is_own_key=payout == provider,
        gas_wei=SWEEP_GAS * await wallet.gas_price_wei(),
        transaction=report_transaction(receipt) if receipt else None,
    )


async def payout_elsewhere(escrow: Escrow, provider: bytes) -> bytes:
    """The payout address, if it is another than the provider's own.

    Raises:
        Unavailable: The chain does not answer.
        UserError: None is set.
    """
    payout = await escrow.payout(provider)
    if payout == provider:
        raise UserError(
            "no payout address is set, so the credit would go to this node's own key: set a cold "
            "one with `rowen payout 0x…`"
        )
    return payout


async def change_payout(escrow: Escrow, wallet: Wallet, wanted: bytes | None) -> PayoutReport:
    """Asks for another payout address, unless it is the present one or asked for already.

    The first one is in force at once; later ones after the escrow's delay.

    Args:
        escrow: Where.
        wallet: The operator's.
        wanted: 20 bytes; None to look only.

    Raises:
        Unavailable: The chain does not answer; what was sent stays pending.
        UserError: The contract refuses, or too little gas money.
    """
    provider = wallet.address
    receipt: TxReceipt | None = None
    if wanted == provider:
        raise UserError("that is this node's own key: a payout address should not be on this box")
    if wanted is not None:
        receipt = await apply_due(escrow, wallet)
        pending, _ = await escrow.pending_payout(provider)
        if wanted not in (await escrow.payout(provider), pending):
            receipt = await wallet.request_payout(wanted, intent=fresh_intent("payout"))
    payout = await escrow.payout(provider)
    pending, apply_at_s = await escrow.pending_payout(provider)
    return PayoutReport(
        payout=format_address(payout),
        is_own_key=payout == provider,
        pending=format_address(pending) if apply_at_s else "",
        apply_at_s=apply_at_s,
        transaction=report_transaction(receipt) if receipt else None,
    )


async def apply_due(escrow: Escrow, wallet: Wallet) -> TxReceipt | None:
    """Puts a requested payout address in force, if its delay is over by the chain's clock."""
    _, apply_at_s = await escrow.pending_payout(wallet.address)
    if not apply_at_s or (await escrow.head()).timestamp_s < apply_at_s:
        return None
    return await wallet.apply_payout(wallet.address, intent=fresh_intent("payout"))


def report_transaction(receipt: TxReceipt) -> TransactionReport:
    """A transaction as it is shown."""
    return TransactionReport(
        hash="0x" + receipt.hash.hex(),
        block=receipt.block.number,
        gas_used=receipt.gas_used,
        fee_wei=receipt.fee_wei,
    )
