"""RowenStake, rule by rule, in Python; see ``rowen.testing.escrow_model``."""

from __future__ import annotations

from dataclasses import dataclass, field

from rowen.chain.events import (
    Bonded,
    Slashed,
    UnbondCancelled,
    UnbondRequested,
    Withdrawn,
)
from rowen.chain.refusals import Reverted
from rowen.chain.staking import BondView, StakeDeployment, penalty_of
from rowen.protocol.errors import PeerError
from rowen.protocol.fraud import Offence, Proof, check
from rowen.testing.escrow_model import EscrowModel
from rowen.testing.token_model import ZERO_ADDRESS, Call

NOTHING = BondView(0, 0, 0)
OffenceKey = tuple[bytes, Offence, bytes, int]


@dataclass(slots=True, kw_only=True)
class ContractsModel(EscrowModel):
    """All storage of token, escrow and stake."""

    stake: StakeDeployment
    bonds: dict[bytes, BondView] = field(default_factory=dict)
    paid: dict[OffenceKey, int] = field(default_factory=dict)

    def bond(self, call: Call, provider: bytes, amount: int) -> None:
        """RowenStake.bond."""
        if provider == ZERO_ADDRESS:
            raise Reverted("bond", "ZeroAddress")
        if amount == 0:
            raise Reverted("bond", "ZeroAmount")
        held = self.bonds.get(provider, NOTHING)
        bonded = held.amount + amount
        if bonded < self.stake.penalty:
            raise Reverted("bond", "BondBelowPenalty", (bonded, self.stake.penalty))
        self.bonds[provider] = held._replace(amount=bonded)
        call.emit(Bonded, provider=provider, sender=call.sender, amount=amount, bonded=bonded)
        self.spend(call.sender, self.stake.address, amount)

    def request_unbond(self, call: Call, provider: bytes, amount: int) -> None:
        """RowenStake.requestUnbond."""
        self._require_owner(call, provider)
        if amount == 0:
            raise Reverted("requestUnbond", "ZeroAmount")
        held = self.bonds.get(provider, NOTHING)
        if amount > held.active:
            raise Reverted("requestUnbond", "UnbondExceedsBond", (amount, held.active))
        leaving, leave_at_s = held.leaving + amount, call.now_s + self.stake.unbond_delay_s
        self.bonds[provider] = BondView(held.amount, leaving, leave_at_s)
        call.emit(UnbondRequested, provider=provider, leaving=leaving, leave_at_s=leave_at_s)

    def cancel_unbond(self, call: Call, provider: bytes) -> None:
        """RowenStake.cancelUnbond."""
        self._require_owner(call, provider)
        held = self.bonds.get(provider, NOTHING)
        if not held.leave_at_s:
            raise Reverted("cancelUnbond", "UnbondNotPending", (provider,))
        self.bonds[provider] = BondView(held.amount, 0, 0)
        call.emit(UnbondCancelled, provider=provider)

    def withdraw(self, call: Call, provider: bytes) -> None:
        """RowenStake.withdraw."""
        held = self.bonds.get(provider, NOTHING)
        if not held.leave_at_s:
            raise Reverted("withdraw", "UnbondNotPending", (provider,))
        if call.now_s < held.leave_at_s:
            raise Reverted("withdraw", "UnbondTooEarly", (held.leave_at_s, call.now_s))
        payout = self.payout_of(provider)
        self.bonds[provider] = BondView(held.amount - held.leaving, 0, 0)
        call.emit(Withdrawn, provider=provider, payout=payout, amount=held.leaving)
        self.move(self.stake.address, payout, held.leaving)

    def slash(self, call: Call, proof: Proof) -> None:
        """RowenStake.slashEquivocation, slashBrokenTotal and slashChargedFailure."""
        try:
            check(proof, self.deployment.domain)
        except PeerError as error:
            # Which of the contract's errors it would be is not told apart here.
            raise Reverted("slash", "", ()) from error
        key = offence_key(proof)
        unpaid = self.stake.penalty - self.paid.get(key, 0)
        if unpaid == 0:
            raise Reverted("slash", "OffencePunished", key)
        held = self.bonds.get(proof.channel.provider, NOTHING)
        if held.amount == 0:
            raise Reverted("slash", "NothingBonded", (proof.channel.provider,))
        taken = penalty_of(held.amount, unpaid)
        left = held.amount - taken.burned - taken.reward
        leaving = min(held.leaving, left)
        self.bonds[key[0]] = BondView(left, leaving, held.leave_at_s if leaving else 0)
        self.paid[key] = self.paid.get(key, 0) + taken.burned + taken.reward
        call.emit(
            Slashed,
            provider=key[0],
            reporter=call.sender,
            offence=proof.offence,
            channel_id=key[2],
            sequence=key[3],
            burned=taken.burned,
            reward=taken.reward,
        )
        self.move(self.stake.address, call.sender, taken.reward)

    def _require_owner(self, call: Call, provider: bytes) -> None:
        if call.sender not in (provider, self.payout_of(provider)):
            raise Reverted("stake", "NotProvider", (provider, call.sender))


def offence_key(proof: Proof) -> OffenceKey:
    """What an offence is paid for under."""
    channel = proof.channel
    return channel.provider, proof.offence, channel.id, proof.sequence()
