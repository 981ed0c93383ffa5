"""``rowen payout`` and ``rowen stake``, on a real chain."""

from __future__ import annotations

import pytest
from tests.integration.cli.inside import Inside

NOBODY = "0x00000000000000000000000000000000DeaDBeef"


def test_a_payout_address_is_replaced_after_a_delay_unless_the_one_in_force_refuses(
    inside: Inside,
) -> None:
    """Threat 59: whoever has the operator key waits in view of the owner of the cold one."""
    home = inside.home("owner", funded="operator wallet")
    operator, cold = inside.address(home, "operator"), inside.address(home, "wallet")
    first = inside(home, "payout", cold, "--json").document("payout")
    assert (first["payout"], first["pending"]) == (cold, None)
    stolen = inside(home, "payout", NOBODY, "--json").document("payout")
    assert (stolen["payout"], stolen["pending"]) == (cold, NOBODY)

    stranger = inside.home("stranger", funded="wallet")
    shown = inside(stranger, "payout", "--of", operator).out
    assert f"rowen payout --veto --of {operator}" in shown
    assert "NotPayoutAddress" in inside.refused(stranger, "payout", "--veto", "--of", operator)
    assert "PayoutTooEarly" in inside.refused(stranger, "payout", "--apply", "--of", operator)
    vetoed = inside(home, "payout", "--veto", "--json").document("payout")
    assert (vetoed["payout"], vetoed["pending"]) == (cold, None)
    assert "PayoutNotPending" in inside.refused(home, "payout", "--veto")
    assert "leave the options away" in inside.refused(home, "payout", NOBODY, "--veto")

    inside(home, "payout", NOBODY, "--json").document("payout")
    inside.warp(7_200)
    applied = inside(stranger, "payout", "--apply", "--of", operator, "--json").document("payout")
    assert (applied["payout"], applied["pending"]) == (NOBODY, None)


def test_a_bond_is_made_asked_back_and_withdrawn_to_the_payout_address(inside: Inside) -> None:
    home = inside.home("owner", funded="operator wallet")
    operator, cold = inside.address(home, "operator"), inside.address(home, "wallet")
    inside(home, "payout", cold, "--json").document("payout")

    bonded = inside(home, "stake", "bond", "25", "--json").document("stake-bond")
    assert (bonded["provider"], bonded["bonded"], bonded["step"]) == (
        operator,
        "25000000",
        "bonded",
    )
    small = inside.refused(home, "stake", "bond", "1", "--provider", NOBODY)
    assert "a bond is $10.00 or more in all" in small
    assert "$25.00 can be asked back" in inside.refused(home, "stake", "unbond", "26")
    asked = inside(home, "stake", "unbond", "10", "--json").document("stake-unbond")
    assert (asked["active"], asked["leaving"]) == ("15000000", "10000000")
    cancelled = inside(home, "stake", "cancel", "--json").document("stake-cancel")
    assert (cancelled["active"], cancelled["leave_at_s"]) == ("25000000", 0)

    said = inside(home, "stake", "unbond", "4").out
    assert "the delay began anew" not in said
    inside.warp(3_600)
    said = inside(home, "stake", "unbond", "6").out
    assert "For what was asked back before, the delay began anew." in said
    assert "It can be slashed until it has left." in said
    assert f"rowen stake withdraw --provider {operator}" in said
    inside.warp(3_601)
    early = inside.refused(home, "stake", "withdraw")
    assert "UnbondTooEarly" in early
    assert "it can be done from 20" in early
    inside.warp(3_600)
    stranger = inside.home("stranger", funded="wallet")
    assert "only the provider and its payout address" in inside.refused(
        stranger, "stake", "unbond", "1", "--provider", operator, "--key", "wallet"
    )
    done = inside(
        stranger, "stake", "withdraw", "--provider", operator, "--key", "wallet", "--json"
    ).document("stake-withdraw")
    assert (done["bonded"], done["leaving"]) == ("15000000", "0")
    shown = inside(stranger, "stake", "status", operator, "--json").document("stake-status")
    assert shown["penalty"] == "10000000"


def test_what_is_missing_for_a_bond_is_said(inside: Inside) -> None:
    home = inside.home("owner", chain__stake="")
    assert "no stake contract is set" in inside.refused(home, "stake", "status")
    assert "more than $0" in inside.refused(home, "stake", "bond", "0")
    wrong = inside.home("wrong", chain__stake=inside.devnet["escrow"])
    assert "is not this version's RowenStake" in inside.refused(wrong, "stake", "status")
    nothing = inside.home("nothing", chain__stake=NOBODY)
    assert "there is no contract at" in inside.refused(nothing, "stake", "status")
    poor = inside.home("poor")
    assert "$25.00 more of the escrow's token to bond" in inside.refused(
        poor, "stake", "bond", "25"
    )


@pytest.mark.parametrize("key", ["session", "FILE"])
def test_only_keys_that_may_send_are_taken(inside: Inside, key: str) -> None:
    done = inside(inside.home("owner"), "stake", "withdraw", "--key", key, "--json")
    assert done.code == 2
    assert done.error()["kind"] == "usage"
