"""Channels funded in every way that the command line has, on a real chain."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import trio
from tests.integration.cli.inside import Inside

from rowen.chain.devnet import devnet_key
from rowen.chain.keystore import load_key, sealing_key
from rowen.chain.sender import Sender
from rowen.home import Home
from rowen.protocol.errors import Unavailable
from rowen.protocol.ids import format_address
from rowen.store.base import ChannelStopped
from rowen.store.journal import open_journal

PROVIDERS = [format_address(devnet_key(300 + number).address) for number in range(5)]


def test_channels_are_funded_one_by_one_or_many_at_once(inside: Inside) -> None:
    home = inside.home("client", funded="wallet")
    line = ("channel", "open")
    one = inside(home, *line, PROVIDERS[0], "2", "--json").document("channel-open")
    (channel,) = one["channels"]
    assert (channel["provider"], channel["locked"]) == (PROVIDERS[0], "2000000")
    for by in ("permit", "authorization", "approve"):
        done = inside(home, *line, PROVIDERS[0], "1", "--by", by, "--json").document("channel-open")
    assert done["channels"][0]["locked"] == "5000000"
    assert "Permit2 is not on this chain" in inside.refused(
        home, *line, PROVIDERS[0], "1", "--by", "permit2"
    )
    many = inside(home, *line, *PROVIDERS, "3", "--json").document("channel-open")
    assert [c["locked"] for c in many["channels"]] == ["8000000", *["3000000"] * 4]
    listed = inside(home, "channel", "list", "--json").document("channel-list")["channels"]
    assert {c["provider"] for c in listed} == set(PROVIDERS)

    assert "named twice" in inside.refused(home, *line, PROVIDERS[0], PROVIDERS[0], "1")
    assert "leave --by away" in inside.refused(home, *line, *PROVIDERS[:2], "1", "--by", "permit")
    assert "too little" in inside.refused(home, *line, *PROVIDERS, "900")
    assert inside(home, *line, PROVIDERS[0], "--json").error()["kind"] == "usage"


def test_the_least_amount_opens_a_channel_and_less_adds_to_it(inside: Inside) -> None:
    """The escrow's minimum keeps dust from opening channels; a top-up is no new one."""
    home = inside.home("client", funded="wallet")
    line = ("channel", "open")
    assert "opened with $0.001 or more" in inside.refused(home, *line, PROVIDERS[0], "0.0009")
    inside(home, *line, PROVIDERS[0], "0.001", "--json").document("channel-open")
    done = inside(home, *line, PROVIDERS[0], "0.000001", "--json").document("channel-open")
    assert done["channels"][0]["locked"] == "1001"
    message = inside.refused(home, *line, *PROVIDERS[:2], "0.000001")
    assert "opened with $0.001 or more" in message
    nobody = "0x" + "00" * 20
    assert "0x00…00 is nobody" in inside.refused(home, *line, nobody, "1")


def test_a_payer_without_gas_is_shown_the_way_that_needs_none(inside: Inside) -> None:
    home = inside.home("client", funded="wallet")
    inside(home, "channel", "open", PROVIDERS[0], "2", "--json").document("channel-open")
    inside.rpc("anvil_setBalance", inside.address(home, "wallet"), "0x0")
    sign = f"`rowen channel sign {PROVIDERS[0]} FILE"
    assert f"{sign} --lock 0.50`" in inside.refused(home, "channel", "open", PROVIDERS[0], "0.50")
    assert f"{sign} --leave`" in inside.refused(home, "channel", "close", PROVIDERS[0])
    many = inside.refused(home, "channel", "open", *PROVIDERS[:2], "1")
    assert "`rowen channel sign PROVIDER FILE --lock 1`" in many


def test_nothing_more_is_locked_in_a_channel_that_no_job_can_use(
    inside: Inside, tmp_path: Path
) -> None:
    """A disputed receipt ended it; money there would only wait for the unlock delay."""
    home = inside.home("client", funded="wallet")
    opened = inside(home, "channel", "open", PROVIDERS[0], "2", "--json").document("channel-open")
    trio.run(partial(stop, home, bytes.fromhex(opened["channels"][0]["channel_id"][2:])))
    for line in (
        ("channel", "open", PROVIDERS[0], "2"),
        ("channel", "open", PROVIDERS[1], PROVIDERS[0], "2"),
        ("channel", "sign", PROVIDERS[0], tmp_path / "wish", "--lock", "2"),
    ):
        message = inside.refused(home, *line)
        assert "at an end (receipt 1 is disputed)" in message
        assert f"`rowen channel close {PROVIDERS[0]}`" in message
    inside(home, "channel", "close", PROVIDERS[0], "--json").document("channel-close")


async def stop(home: Home, channel_id: bytes) -> None:
    """What the client writes when a receipt is wrong."""
    session = await load_key(home.session_key, home.read_password())
    async with open_journal(home.buyer_journal, sealing_key(session)) as journal:
        await journal.append(ChannelStopped(channel_id=channel_id, detail="receipt 1 is disputed"))


@pytest.mark.parametrize("count", [1, 2])
def test_money_is_listed_even_if_the_command_that_locked_it_never_heard_of_it(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """It was sent, and then the process died; the channel stands in no settings, either."""
    home = inside.home("client", funded="wallet")

    async def never_hears(*_: object) -> None:
        raise Unavailable("the line is cut")

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "_follow", never_hears)
        # Of many channels the allowance is sent first, and it is that which is not heard of.
        for _ in range(count):
            done = inside(home, "channel", "open", *PROVIDERS[:count], "3", "--json")
            assert done.code == 4, done.out
    inside.rpc("anvil_mine", "0x2")
    listed = inside(home, "channel", "list", "--json").document("channel-list")["channels"]
    there = {c["provider"]: c["locked"] for c in listed}
    assert there.items() >= dict.fromkeys(PROVIDERS[:count], "3000000").items()


def test_a_request_for_the_rest_is_taken_back(inside: Inside) -> None:
    home = inside.home("client", funded="wallet")
    inside(home, "channel", "open", PROVIDERS[0], "2", "--json").document("channel-open")
    line = ("channel", "close", PROVIDERS[0])
    assert "nothing to take back" in inside.refused(home, *line, "--cancel")
    inside(home, *line, "--json").document("channel-close")
    assert "choose one" in inside.refused(home, *line, "--cancel", "--unlock")
    done = inside(home, *line, "--cancel", "--json").document("channel-close")
    assert (done["step"], done["unlock_at_s"]) == ("cancelled", 0)
    (channel,) = inside(home, "channel", "list", "--json").document("channel-list")["channels"]
    assert (channel["locked"], channel["unlock_at_s"]) == ("2000000", 0)


@pytest.mark.parametrize("by", ["", "authorization", "permit", "approve"])
def test_a_payer_without_gas_signs_and_a_stranger_sends(
    inside: Inside, tmp_path: Path, by: str
) -> None:
    """Funding, asking back, taking that back, and the refund: no gas of the payer's anywhere."""
    payer, relayer = inside.home("payer", funded="wallet"), inside.home("relayer", funded="wallet")
    wallet = inside.address(payer, "wallet")
    if by == "approve":
        # An allowance that is there already, from a lock that was then smaller.
        fields = {"to": inside.devnet["token"], "from": wallet}
        escrow = inside.devnet["escrow"][2:].lower().rjust(64, "0")
        data = "0x095ea7b3" + escrow + hex(4_000_000)[2:].rjust(64, "0")
        inside.rpc("anvil_impersonateAccount", wallet)
        inside.rpc("eth_sendTransaction", {**fields, "data": data})
        inside.rpc("anvil_mine", "0x1")
    inside.rpc("anvil_setBalance", wallet, "0x0")

    def signed(name: str, *what: object) -> Path:
        file = tmp_path / name
        done = inside(payer, "channel", "sign", PROVIDERS[0], file, *what, "--json")
        assert done.document("channel-sign")["is_signed"]
        assert file.stat().st_mode & 0o777 == 0o600
        return file

    def sent(file: Path, *more: object) -> dict[str, object]:
        return inside(relayer, "channel", "send", file, *more, "--json").document("channel-send")

    way = ("--by", by) if by else ()
    lock = signed("lock", "--lock", "4", *way)
    assert sent(lock)["locked"] == "4000000"
    assert sent(lock)["locked"] == "4000000", "sent again, it is the same transaction"
    (listed,) = inside(payer, "channel", "list", "--json").document("channel-list")["channels"]
    assert (listed["locked"], listed["payer"]) == ("4000000", wallet)

    assert sent(signed("leave", "--leave"))["unlock_at_s"]
    assert sent(signed("stay", "--stay"))["unlock_at_s"] == 0
    inside.warp(1)  # The escrow takes a wish once, and one second's are the same.
    leave = signed("leave again", "--leave")
    sent(leave)
    early = inside.refused(relayer, "channel", "send", leave, "--unlock")
    assert "UnlockTooEarly" in early
    assert "it can be done from 20" in early
    inside.warp(3_600)
    assert sent(leave, "--unlock")["locked"] == "0"
    assert int(inside.rpc("eth_getBalance", wallet, "latest"), 16) == 0
    fields = {"to": inside.devnet["token"], "data": "0x70a08231" + wallet[2:].rjust(64, "0")}
    assert int(inside.rpc("eth_call", fields, "latest"), 16) == 1_000_000_000


def test_a_wallet_elsewhere_signs_the_typed_data(inside: Inside, tmp_path: Path) -> None:
    """As a browser wallet or a Safe would; here eth_account does, from the file alone."""
    from eth_account import Account

    elsewhere = devnet_key(350)
    payer = format_address(elsewhere.address)
    home = inside.home("client", client__payer=payer)
    relayer = inside.home("relayer", funded="wallet")
    assert inside(relayer, "devnet", "fund", payer).code == 0
    file = tmp_path / "wish"
    line = ("channel", "sign", PROVIDERS[1], file, "--lock", "4")
    assert "sign with --elsewhere" in inside.refused(home, *line)
    assert "two signatures" in inside.refused(home, *line, "--elsewhere", "--by", "permit")
    shown = inside(home, *line, "--elsewhere", "--json").document("channel-sign")
    assert (shown["is_signed"], shown["by"], shown["payer"]) == (False, "authorization", payer)
    assert "exists" in inside.refused(home, *line, "--elsewhere")
    assert "nobody signed" in inside.refused(relayer, "channel", "send", file)

    wrong = ("channel", "send", file, "--signature")
    inside.rpc("anvil_setCode", payer, "0x5f5ffd")
    assert f"is not that of {payer}" in inside.refused(relayer, *wrong, "0x1234")
    inside.rpc("anvil_setCode", payer, "0x")
    assert "no signature of" in inside.refused(relayer, *wrong, "0x" + "00" * 65)

    typed = json.loads(file.read_text())["typed_data"]
    account = Account.from_key(elsewhere.secret)
    signature = "0x" + account.sign_typed_data(full_message=typed).signature.hex().removeprefix(
        "0x"
    )
    sent = inside(relayer, "channel", "send", file, "--signature", signature, "--json")
    assert sent.document("channel-send")["locked"] == "4000000"


def test_what_is_no_wish_is_refused(inside: Inside, tmp_path: Path) -> None:
    home = inside.home("client", funded="wallet")
    file = tmp_path / "wish"
    sign = ("channel", "sign", PROVIDERS[2], file)
    assert "say what is wished" in inside.refused(home, *sign)
    assert "say what is wished" in inside.refused(home, *sign, "--leave", "--stay")
    assert "nothing left" in inside.refused(home, *sign, "--leave")
    assert "was not asked for" in inside.refused(home, *sign, "--stay")
    assert "cannot be locked" in inside.refused(home, *sign, "--lock", "0")
    assert "opened with $0.001 or more" in inside.refused(home, *sign, "--lock", "0.0001")
    assert "$4,000.00 too little" in inside.refused(home, *sign, "--lock", "5000")
    send = ("channel", "send", file)
    assert "cannot read" in inside.refused(home, *send)
    inside(home, *sign, "--lock", "2", "--json").document("channel-sign")
    wish = json.loads(file.read_text())
    assert "is not hexadecimal" in inside.refused(home, *send, "--signature", "0xzz")
    assert "nothing to unlock" in inside.refused(home, *send, "--unlock")
    for changes, words in (
        ({"chain_id": 1}, "this wish is for escrow"),
        ({"amount": "3000000"}, "ERC3009InvalidSignature"),
        ({"provider": PROVIDERS[3]}, "ERC3009InvalidSignature"),
        ({"deadline_s": wish["deadline_s"] + 1}, "ERC3009InvalidSignature"),
        ({"amount": "-1"}, "is no wish"),
        ({"amount": "9" * 29}, "is no wish"),
        ({"permit": "0x00"}, "is no wish"),
        ({"more": 1}, "is no wish"),
    ):
        file.write_text(json.dumps(wish | changes))
        assert words in inside.refused(home, *send), changes
    file.write_text("[" * 10_000)
    assert "is no wish" in inside.refused(home, *send)
