"""Money as people write it: US dollars, one token being one dollar, in whole token units."""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException, InvalidOperation, Overflow, Rounded

from rowen.protocol.errors import UserError
from rowen.protocol.statements import AMOUNT_MAX

TOKEN_DECIMALS = 6
_UNIT = Decimal(1).scaleb(-TOKEN_DECIMALS)
# 2^96 has 29 digits. What would need more is refused, never rounded.
_EXACT = Context(prec=64, traps=[InvalidOperation, Overflow, Rounded])


def parse_usd(text: str) -> int:
    """Token units of an amount such as ``0.25`` or ``$12``.

    Raises:
        UserError: No decimal number in a text, negative, too large, or finer than a token unit.
    """
    if not isinstance(text, str):
        # From an untyped program. A float is not the amount that was written.
        raise UserError(f"an amount of dollars is a text such as '0.25', not {text!r}")
    try:
        usd = Decimal(text.strip().removeprefix("$").removesuffix("USD").strip())
        units = _EXACT.scaleb(usd, TOKEN_DECIMALS)
    except DecimalException as error:
        raise UserError(f"{text!r:.80} is not an amount of dollars, such as 0.25") from error
    if not units.is_finite() or units < 0 or units > AMOUNT_MAX:
        raise UserError(f"{text!r:.80} is not an amount between 0 and 2^96 token units")
    if units != int(units):
        raise UserError(f"{text!r:.80} is finer than a token unit, which is ${_UNIT:f}")
    return int(units)


def format_usd(units: int) -> str:
    """An amount with all the digits that matter and at least two: ``$0.25``, ``$0.000051``."""
    whole, part = divmod(abs(units), 10**TOKEN_DECIMALS)
    digits = f"{part:0{TOKEN_DECIMALS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if units < 0 else ''}${whole:,}.{digits}"
