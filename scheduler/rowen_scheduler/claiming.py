"""Which vouchers to put on chain now: those whose value is worth the gas, and those in danger.

All in whole numbers. Values are token units; what gas costs in token units is compared without
rounding, as a fraction over 10^18 wei a coin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COIN_WEI = 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A voucher that is not on chain.

    Attributes:
        channel_id: 32 bytes.
        amount: What a claim adds, token units, > 0.
        is_leaving: Whether its payer asked for the rest: after a delay it is too late.
        age_s: How long the oldest work it pays for has been unclaimed.
    """

    channel_id: bytes
    amount: int
    is_leaving: bool = False
    age_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gas:
    """What gas costs now.

    Attributes:
        price_wei: For a unit of it.
        coin_value: What one coin (10^18 wei) is worth, token units.
    """

    price_wei: int
    coin_value: int

    def weigh(self, gas: int) -> int:
        """Its cost in token units times ``COIN_WEI``; exact, to compare with."""
        return gas * self.price_wei * self.coin_value

    def cost(self, gas: int) -> int:
        """Its cost in token units, rounded up."""
        return -(-self.weigh(gas) // COIN_WEI)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPolicy:
    """When a claim is worth its gas.

    Attributes:
        gas_percent_max: Of what it brings, gas may take so much, 1 to 100.
        age_s_max: A voucher that waited longer is claimed as soon as it brings more than its gas.
        above: Where the coin's worth is not known: token units that make one voucher worth it.
        claim_gas: Gas of a claim, its rows aside.
        row_gas: Gas of a row.
        rows_max: Rows in one claim.
    """

    gas_percent_max: int = 5
    age_s_max: int = 7 * 86_400
    above: int = 1_000_000
    # Measured: 46,830 for one row and 14,214 for each of a hundred, in 132 bytes of calldata each.
    claim_gas: int = 33_000
    row_gas: int = 14_400
    rows_max: int = 1_000

    def gas(self, rows: int) -> int:
        """Of claims with so many rows together."""
        return -(-rows // self.rows_max) * self.claim_gas + rows * self.row_gas


@dataclass(frozen=True, slots=True)
class Choice:
    """What to claim now.

    Attributes:
        channels: Their vouchers, in the order given; empty to wait.
        why: For the log, when something is chosen or something in danger is not.
    """

    channels: tuple[bytes, ...] = ()
    why: str = ""


def choose(waiting: Sequence[Waiting], gas: Gas | None, policy: ClaimPolicy) -> Choice:
    """What to claim now.

    A row that costs more than it brings is never chosen. One whose payer leaves, or that is old,
    is chosen as soon as it brings anything; all others only while gas takes its small share. They
    share the cost of the transaction, so that each makes the others cheaper.

    Args:
        waiting: All that could be claimed.
        gas: None when the coin's worth is not known; then a fixed sum decides, and payers
            who leave are claimed from whatever it costs.
        policy: The owner's.
    """
    if gas is None:
        chosen = [w for w in waiting if w.is_leaving or w.amount >= policy.above]
        return Choice(tuple(w.channel_id for w in chosen))
    row = gas.weigh(policy.row_gas)
    good = {w.channel_id for w in waiting if _share(w.amount, policy) >= row}
    pressing = {
        w.channel_id
        for w in waiting
        if (w.is_leaving or w.age_s >= policy.age_s_max) and w.amount * COIN_WEI > row
    }
    lost = sum(w.is_leaving and w.channel_id not in pressing for w in waiting)
    worth = sum(w.amount for w in waiting if w.channel_id in good)
    if good and _share(worth, policy) >= gas.weigh(policy.gas(len(good))):
        return _these(waiting, good | pressing, "it is worth its gas")
    together = good | pressing
    worth = sum(w.amount for w in waiting if w.channel_id in together)
    if pressing and worth * COIN_WEI > gas.weigh(policy.gas(len(together))):
        return _these(waiting, together, "a payer leaves or a voucher is old")
    if pressing:
        return Choice(why="a payer leaves or a voucher is old, and gas would take all of it")
    if lost:
        return Choice(why=f"{lost} payers leave who owe less than the gas of their row")
    return Choice()


@dataclass(frozen=True, slots=True, kw_only=True)
class Danger:
    """A voucher that is lost if it is not on chain in time.

    Attributes:
        amount: Token units.
        left_s: Until its payer may take them.
    """

    amount: int
    left_s: int


def fee_ceiling_wei(dangers: Sequence[Danger], gas: int, coin_value: int, delay_s: int) -> int:
    """What a unit of gas may cost at most, to save what payers who leave owe.

    It rises from nothing when half of the escrow's delay is over, to all that would be lost when
    an eighth is left, so that a spike is first waited out and at last outbid. Where nothing is
    in danger it is 0, and the owner's own ceiling holds.

    Args:
        dangers: Vouchers of payers who leave.
        gas: Limit of the transaction, > 0.
        coin_value: What 10^18 wei are worth, token units; 0 when that is not known.
        delay_s: Of the escrow, from a payer's request to the end.
    """
    begins_s, full_s = delay_s // 2, delay_s // 8
    if not coin_value or begins_s <= full_s:
        return 0
    ceiling_wei = 0
    for danger in dangers:
        # All that is gone by then, which is what this moment's haste is worth.
        saved = sum(each.amount for each in dangers if each.left_s <= danger.left_s)
        passed_s = min(max(0, begins_s - danger.left_s), begins_s - full_s)
        worth = saved * COIN_WEI * passed_s
        ceiling_wei = max(ceiling_wei, worth // (coin_value * gas * (begins_s - full_s)))
    return ceiling_wei


def worth_from(rows: int, gas: Gas, policy: ClaimPolicy) -> int:
    """What so many vouchers must be worth together, token units, rounded up."""
    return -(-gas.weigh(policy.gas(rows)) * 100 // (policy.gas_percent_max * COIN_WEI))


def is_sweep_worth(credit: int, above: int, gas: Gas | None, gas_limit: int, percent: int) -> bool:
    """Whether the credit should go to the payout address now.

    Args:
        credit: Token units.
        above: The owner's least, token units; 0 for never by itself.
        gas: None when the coin's worth is not known; then ``above`` alone decides.
        gas_limit: Gas of a sweep.
        percent: Gas may take so much of it.
    """
    if not above or credit < above:
        return False
    return gas is None or credit * percent * COIN_WEI >= 100 * gas.weigh(gas_limit)


def _share(amount: int, policy: ClaimPolicy) -> int:
    """What gas may take of it, times ``COIN_WEI``; rounded down, against claiming."""
    return amount * policy.gas_percent_max * COIN_WEI // 100


def _these(waiting: Sequence[Waiting], chosen: set[bytes], why: str) -> Choice:
    return Choice(tuple(w.channel_id for w in waiting if w.channel_id in chosen), why)
