"""An owner sells and a developer buys, with commands alone."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.cli.command import (
    ROWEN,
    Done,
    environment,
    first_document,
    interrupt,
    make_home,
    rowen,
    running,
    valid,
)
from tests.integration.engine.test_ocr import page

from rowen.config.sections import DEFAULT_MODEL
from rowen.home import Home


def lines(done: Done) -> list[dict[str, Any]]:
    """What ``rowen run --json`` printed, each line against its schema."""
    return [valid(line, "run") for line in done.out.splitlines()]


def test_a_developer_buys_from_an_owner(devnet: dict[str, Any], tmp_path: Path) -> None:
    """One story, because each step stands on the one before."""
    owner = make_home(
        tmp_path / "owner", devnet,
        provider__listen=("/ip4/127.0.0.1/tcp/0",), chain__confirmations=0,
        embeddings__model=DEFAULT_MODEL, embeddings__context_units=64, ocr__enabled=True,
        chain__stake=devnet["stake"],
    )  # fmt: skip
    developer = make_home(tmp_path / "developer", devnet, chain__confirmations=0)
    wallet = rowen(developer, "init", "--yes", "--json").document("init")["wallet"]
    operator = rowen(owner, "init", "--yes", "--json").document("init")["operator"]
    for address in (wallet, operator):
        assert rowen(owner, "devnet", "fund", address, "--usd", 3).code == 0
    bench = ("--prefill", 32, "--decode", 8, "--rounds", 1)
    assert rowen(owner, "bench", *bench, "--json").code == 0
    with running(owner, "serve", "--json") as serving:
        ready = first_document(serving, "serve")
        assert ready["address"] == operator
        place = ready["addresses"][0]
        check_an_empty_channel(developer, place)
        check_buying(developer, operator, place)
        check_embedding(developer, place)
        check_reading(developer, place, tmp_path)
        check_refusals(developer, place)
        check_who_may_command(owner)
        check_a_second_node(owner)
        check_interrupting(developer, place)
        status = rowen(owner, "status", "--json").document("status")
        assert status["is_running"]
        assert status["provider"]["channels"][0]["unpaid"] == 0
        check_earning(owner, developer)
        check_settling(owner, developer)
        check_withdrawing(owner, developer)
        bundle = check_exporting(owner, tmp_path)
        assert interrupt(serving) == 130
    check_without_a_daemon(owner, bundle)
    check_closing(developer, operator)


def check_an_empty_channel(developer: Path, place: str) -> None:
    done = rowen(developer, "run", "hello", "--provider", place, "--json")
    assert done.code == 2
    assert "rowen channel open" in done.error()["message"]
    assert rowen(developer, "channel", "list").out.startswith("No channels yet")


def check_buying(developer: Path, operator: str, place: str) -> None:
    opened = rowen(developer, "channel", "open", place, "0.50", "--json").document("channel-open")
    (made,) = opened["channels"]
    assert (made["provider"], made["locked"]) == (operator, "500000")
    (channel,) = rowen(developer, "channel", "list", "--json").document("channel-list")["channels"]
    assert (channel["free"], channel["receipts"]) == ("500000", 0)
    quote = rowen(developer, "quote", "--provider", place, "--json").document("quote")
    assert [offer["provider"] for offer in quote["offers"]] == [operator, operator]
    sold = sorted(offer["kinds"] for offer in quote["offers"])
    assert sold == [["chat", "completion"], ["embeddings"]]
    (chats,) = (offer for offer in quote["offers"] if "chat" in offer["kinds"])
    check_claims(developer, place, chats["claim"])

    said = lines(rowen(developer, "run", "-", "--provider", place, "--max-output", 8, "--json",
                       stdin="Why is the sky blue?"))  # fmt: skip
    result = said[-1]
    assert (result["type"], result["finish"], result["output_units"]) == ("result", "length", 8)
    assert "".join(line["text"] for line in said[:-1]) == result["text"]
    assert int(result["cost"]) == sum(int(part["cost"]) for part in result["parts"]) > 0

    plain = rowen(developer, "run", "Why is the sky blue?", "--provider", place, "--max-output", 8)
    assert plain.code == 0, plain.err
    assert plain.out == result["text"] + "\n", "the same seed, the same answer"
    assert "8 tokens (length)" in plain.err

    text = ["Once upon a time", "--completion", "--provider", place, "--max-output", 8]
    completed = lines(rowen(developer, "run", *text, "--json"))[-1]
    assert completed["text"].startswith(", the city of New Haven")
    chatted = lines(rowen(developer, "run", text[0], *text[2:], "--json"))[-1]
    assert completed["input_units"] < chatted["input_units"], "no template is around it"


def check_claims(developer: Path, place: str, claim: dict[str, Any]) -> None:
    """What the owner measured with `rowen bench` is what a developer is told."""
    alone, many = claim["runs"]
    assert (alone["concurrency"], many["concurrency"]) == (1, 2)
    assert 0 < alone["output_per_ks"] < 10**9
    assert alone["input_per_ks"] > 0
    assert claim["measured_at_ms"] > 1_700_000_000_000
    shown = rowen(developer, "quote", "--provider", place, "--sort", "throughput")
    assert f"{alone['output_per_ks'] / 1000:.1f}" in shown.out
    assert "claims" in shown.out


def check_embedding(developer: Path, place: str) -> None:
    texts = ["The cat sat on the mat.", "Interest rates rose."]
    told = rowen(developer, "embed", *texts, "--provider", place, "--json").document("embed")
    assert (len(told["vectors"]), told["finish"]) == (2, "stop")
    assert {len(vector) for vector in told["vectors"]} == {576}
    assert told["output_units"] == 2 * 576
    assert int(told["cost"]) == sum(int(part["cost"]) for part in told["parts"]) > 0
    plain = rowen(developer, "embed", "-", "--provider", place, stdin="\n".join(texts))
    assert plain.code == 0, plain.err
    assert [json.loads(line) for line in plain.out.splitlines()] == told["vectors"]
    assert "2 vectors (stop)" in plain.err
    long = rowen(developer, "embed", "word " * 100, "--provider", place, "--json")
    assert "tokens, at most 64 fit" in long.error()["message"]


def check_reading(developer: Path, place: str, folder: Path) -> None:
    files = [folder / "one.png", folder / "two.png"]
    for file, line in zip(files, ("Invoice 2048", "Total 99 EUR"), strict=True):
        file.write_bytes(page(line))
    told = rowen(developer, "ocr", *files, "--provider", place, "--json").document("ocr")
    assert (told["pages"], told["finish"]) == (["Invoice 2048", "Total 99 EUR"], "stop")
    assert (told["input_units"], told["output_units"], told["cost"]) == (2, 26, "2000")
    plain = rowen(developer, "ocr", files[0], "--provider", place)
    assert (plain.code, plain.out) == (0, "Invoice 2048\n"), plain.err
    quote = rowen(developer, "quote", "pp-ocrv6-small", "--provider", place, "--json")
    assert quote.document("quote")["offers"][0]["kinds"] == ["ocr"]
    files[1].write_bytes(b"GIF89a")
    wrong = rowen(developer, "ocr", *files, "--provider", place, "--json")
    assert "page 2: it is no PNG and no JPEG" in wrong.error()["message"]


def check_refusals(developer: Path, place: str) -> None:
    dear = rowen(developer, "run", "hello", "--provider", place, "--max-cost", "0.000001", "--json")
    assert dear.code == 2
    assert "cost_above_max" in dear.error()["message"]
    assert "you ignore it" not in dear.error()["message"]
    other = rowen(developer, "run", "hello", "--provider", place, "--model", "gpt-9", "--json")
    assert other.code == 4
    assert "it sells smollm2-135m-instruct:q4_1" in other.error()["message"]
    quote = rowen(developer, "quote", "gpt-9", "--provider", place, "--json")
    assert quote.code == 4
    assert "it sells" in quote.document("quote")["rejected"][0]["why"]
    away = place.replace(place.split("/")[4], "9")
    gone = rowen(developer, "run", "hello", "--provider", away, "--json")
    assert gone.code == 4
    assert "cannot reach" in gone.error()["message"]


def check_who_may_command(owner: Path) -> None:
    """Threat 58: there is no password to guess, only a socket that one user can open."""
    assert owner.stat().st_mode & 0o777 == 0o700
    assert Home(owner).control_socket.stat().st_mode & 0o777 == 0o600


def check_a_second_node(owner: Path) -> None:
    second = rowen(owner, "serve", "--json")
    assert second.code == 2
    assert "in use by process" in second.error()["message"]


def check_interrupting(developer: Path, place: str) -> None:
    """Ctrl-C in the middle: 130, and what came in is paid for."""
    process = subprocess.Popen(
        [*ROWEN, "run", "Why do we sleep?", "--provider", place, "--json", "--max-output", "400"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=developer.parent, env=environment(developer),
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["type"] == "text"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    result = valid(out.splitlines()[-1], "run")
    assert result["finish"] == "cancelled"
    assert result["parts"][0]["is_settled"]
    assert int(result["cost"]) > 0
    assert err == ""


def check_settling(owner: Path, developer: Path) -> None:
    (channel,) = rowen(developer, "channel", "list", "--json").document("channel-list")["channels"]
    warm = rowen(owner, "settle", "--sweep", "--json")
    assert warm.code == 2
    assert "no payout address is set" in warm.error()["message"]
    settled = rowen(owner, "settle", "--json").document("settle")
    assert (settled["credited"], settled["swept"]) == (channel["owed"], "0")
    again = rowen(owner, "settle", "--json").document("settle")
    assert again["transactions"] == []


def check_earning(owner: Path, developer: Path) -> None:
    """Everything billed is in exactly one column, and nothing is made up for power."""
    (channel,) = rowen(developer, "channel", "list", "--json").document("channel-list")["channels"]
    books = rowen(owner, "earnings", "--json").document("earnings")
    (line,) = books["lines"]
    assert line | {"key": ""} == books["total"]
    assert (line["potential"], line["earned"], line["settled"]) == ("0", channel["owed"], "0")
    assert line["receipts"] == channel["receipts"]
    assert line["unmetered_jobs"] == line["jobs"] > 0
    assert (line["power"], line["unknown"]) == (None, ["power"])
    for by in ("variant", "channel"):
        books = rowen(owner, "earnings", "--by", by, "--json").document("earnings")
        assert sum(int(one["earned"]) for one in books["lines"]) == int(channel["owed"])
    assert books["lines"][0]["key"] == channel["channel_id"]
    rows = rowen(owner, "earnings", "--csv").out.splitlines()
    assert rows[0].startswith("day,jobs,receipts,")
    assert rows[1].split(",")[6] == channel["owed"]
    nothing = rowen(owner, "earnings", "--until", "2020-01-01", "--json").document("earnings")
    assert nothing["lines"] == []
    assert rowen(owner, "earnings", "--since", "yesterday").code == 2


def check_withdrawing(owner: Path, developer: Path) -> None:
    """Nothing goes anywhere unasked, nor to the hot key; the first cold address is at once."""
    (channel,) = rowen(developer, "channel", "list", "--json").document("channel-list")["channels"]
    books = rowen(owner, "earnings", "--json").document("earnings")
    assert (books["total"]["earned"], books["total"]["settled"]) == ("0", channel["owed"])
    assert int(books["total"]["gas_wei"]) > 0
    assert books["total"]["unknown"] == ["gas", "power"]
    # The daemon holds the operator key's journal, so it sends whatever that key signs.
    nothing = rowen(owner, "stake", "cancel", "--json")
    assert (nothing.code, "UnbondNotPending" in nothing.error()["message"]) == (2, True)
    assert rowen(owner, "payout", "--json").document("payout")["is_own_key"]
    looked = rowen(owner, "withdraw", "--json").document("withdraw")
    assert (looked["transaction"], looked["is_own_key"]) == (None, True)
    assert looked["credit"] == channel["owed"]
    assert "rowen payout 0x" in rowen(owner, "withdraw", "--yes", "--json").error()["message"]
    cold = "0x" + "cc" * 20
    changed = rowen(owner, "payout", cold, "--json").document("payout")
    assert changed["payout"].lower() == cold
    assert (changed["pending"], changed["is_own_key"]) == (None, False)
    swept = rowen(owner, "settle", "--sweep", "--json").document("settle")
    assert (swept["swept"], swept["payout"]) == (channel["owed"], changed["payout"])
    again = rowen(owner, "payout", "0x" + "dd" * 20, "--json").document("payout")
    assert again["payout"] == changed["payout"]
    assert again["pending"].lower() == "0x" + "dd" * 20
    assert again["apply_at_s"] > 0


def check_exporting(owner: Path, folder: Path) -> Path:
    bundle = folder / "bundle"
    made = rowen(owner, "audit", "export", bundle, "--json").document("audit-export")
    pins = ["--chain-id", made["chain_id"], "--escrow", made["escrow"]]
    pins += ["--provider", made["provider"], "--block-hash", made["block"]["hash"]]
    verdict = rowen(owner, "audit", "verify", bundle, *pins, "--json")
    assert verdict.code == 0, verdict.out
    assert verdict.document("audit-verify")["figures"]["receipts"] == made["receipts"]
    sold = rowen(owner, "status", "--json").document("status")["provider"]["channels"]
    part = folder / "part"
    one = ["--channel", sold[0]["channel_id"]]
    alone = rowen(owner, "audit", "export", part, *one, "--json").document("audit-export")
    assert (alone["channels"], alone["block"]) == (1, None)
    assert rowen(owner, "audit", "verify", part, "--json").code == 3
    wrong = rowen(owner, "audit", "verify", bundle, "--chain-id", 1, "--json")
    assert (wrong.code, wrong.document("audit-verify")["status"]) == (1, "failed")
    return bundle


def check_without_a_daemon(owner: Path, bundle: Path) -> None:
    """The same commands, when the node is off."""
    assert not Home(owner).control_socket.exists()
    assert rowen(owner, "settle", "--json").document("settle")["claimed"] == 0
    other = bundle.with_name("bundle-2")
    done = rowen(owner, "audit", "export", other)
    assert done.code == 0, done.err
    assert f"rowen audit verify {other}" in done.out
    assert {path.name for path in bundle.iterdir()} == {path.name for path in other.iterdir()}


def check_closing(developer: Path, operator: str) -> None:
    early = rowen(developer, "channel", "close", operator, "--unlock", "--json")
    assert early.code == 2
    assert "without --unlock" in early.error()["message"]
    asked = rowen(developer, "channel", "close", operator, "--json").document("channel-close")
    assert asked["step"] == "requested"
    again = rowen(developer, "channel", "close", operator, "--json")
    assert again.code == 2
    assert "asked for already" in again.error()["message"]
    soon = rowen(developer, "channel", "close", operator, "--unlock", "--json")
    assert soon.code == 2
    assert "run the command again then" in soon.error()["message"]
    more = rowen(developer, "channel", "open", operator, "1", "--json")
    assert more.code == 2
    assert "then lock more" in more.error()["message"]
