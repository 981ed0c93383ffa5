"""What people see: wrapped answers, dollars, settings that explain themselves."""

import io
from typing import cast

import pytest
from rich.console import Console
from rich.padding import Padding

from rowen.cli.asking import Question, tokens_per_s
from rowen.cli.config_file import render
from rowen.cli.demo.wrapping import Wrapper
from rowen.cli.looking import without_secrets
from rowen.cli.options import MODEL
from rowen.cli.output import show_error
from rowen.cli.people import column_dollars, counted, dollars, short, table
from rowen.config import DEFAULT_MODEL
from rowen.engine.models import entry
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError


def wrapped(*pieces: str, width: int = 11) -> str:
    out = io.StringIO()
    wrapper = Wrapper(Console(file=out, width=80), indent="> ", width=width)
    for piece in pieces:
        wrapper.write(piece)
    wrapper.finish()
    return out.getvalue()


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["one two three four"], ["one two", "three four"]),
        (["on", "e t", "wo thr", "ee"], ["one two", "three"]),
        (["a", " ", " b"], ["a b"]),
        (["a\n\n\nb"], ["a", "b"]),
        (["  lead"], ["lead"]),
        (["unbreakable-word and"], ["unbreakable-word", "and"]),
        (["[not] ", "markup"], ["[not]", "markup"]),
        (["日本語 日本語"], ["日本語", "日本語"]),
        (["red \x1b[31m"], ["red �[31m"]),
        ([], []),
    ],
)
def test_words_stay_whole_however_they_arrive(pieces: list[str], lines: list[str]) -> None:
    assert wrapped(*pieces) == "".join(f"> {line}\n" for line in lines)


def test_money_is_dollars_without_lost_digits() -> None:
    assert [dollars(n) for n in (0, 1, 250_000, 12_000_000)] == [
        "$0.00", "$0.000001", "$0.25", "$12.00",
    ]  # fmt: skip
    assert [column_dollars(n) for n in (20, 1_000_000, 10**12)] == [
        "$0.000020", "$1.000000", "$1,000,000.000000",
    ]  # fmt: skip


def test_only_people_see_short_addresses() -> None:
    assert short("0x71C7656EC7ab88b098defB751B7401B5f6d8976F") == "0x71C7…976F"
    assert short("31337") == "31337"


def test_one_is_one() -> None:
    assert [counted(n, "receipt") for n in (0, 1, 2)] == ["0 receipts", "1 receipt", "2 receipts"]


def test_speed_leaves_out_the_wait_for_the_first_token() -> None:
    assert tokens_per_s(101, 1000, 3000) == "50 tokens/s"
    assert tokens_per_s(1, 10, 10) == "–"


def test_every_setting_is_explained() -> None:
    """A key in the file has its meaning above it."""
    lines = render({}).splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line]
    assert len(keys) >= 20
    assert all(lines[number - 1].startswith("# ") for number in keys)
    assert "``" not in "\n".join(lines)


def test_a_key_in_an_rpc_url_is_not_shown() -> None:
    assert without_secrets("https://rpc.example/v2/secret") == "https://rpc.example/•••"
    assert "secret" not in without_secrets("https://me:secret@rpc.example:8545/?k=secret")
    assert without_secrets("http://127.0.0.1:8545") == "http://127.0.0.1:8545"


def test_a_prompt_is_in_no_repr() -> None:
    question = Question(
        prompt="my secret", is_completion=False, model="m", max_cost="", max_output=1,
        temperature=0, seed=0, providers=(),
    )  # fmt: skip
    assert "secret" not in repr(question)


def test_the_model_asked_for_is_the_one_sold_by_default() -> None:
    assert entry(DEFAULT_MODEL).model == MODEL


def test_an_error_does_not_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What a peer said may be quoted in it."""
    show_error("peer_error", "it said \x1b]0;owned\x07 \u202eevil [bold]x[/]", as_json=False)
    said = capsys.readouterr().err
    assert said.startswith("error: it said ")
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
    assert "[bold]x[/]" in said


def test_a_table_is_as_wide_as_what_is_in_it() -> None:
    """A log keeps no trailing blanks to the edge of a terminal that is not there."""
    out = io.StringIO()
    screen = Console(file=out, width=160, color_system=None)
    made = table(("who", "cost"), [("alder", "$1"), ("birch", "$20")], right="lr")
    screen.print(Padding(made, (0, 0, 0, 3), expand=False))
    assert {len(line) for line in out.getvalue().splitlines()} == {3 + 5 + 2 + 4}


def test_a_float_is_no_amount_of_money() -> None:
    """An untyped program may pass one; it is told to write a text."""
    with pytest.raises(UserError, match="text"):
        parse_usd(cast(str, 0.25))


@pytest.mark.parametrize(
    "text",
    ["1e999999999", "1e-999999999", "5." + "0" * 30 + "1", "9" * 5_000, "nan", "snan", "inf", "-1"],
)
def test_an_amount_beyond_every_calculation_is_refused_and_never_rounded(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_usd(text)
    assert len(str(caught.value)) < 200


def test_the_largest_amount_is_exact_to_its_last_unit() -> None:
    assert parse_usd("79228162514264337593543.950335") == 2**96 - 1
    assert parse_usd("0e999999999") == 0
    with pytest.raises(UserError, match="between 0 and"):
        parse_usd("79228162514264337593543.950336")


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_terminal_loses_no_figure(width: int) -> None:
    """A table that does not fit is told row by row; nothing is cut off."""
    out = io.StringIO()
    screen = Console(file=out, width=width, force_terminal=True, color_system=None)
    rows = [("0xA7b0…6B62", "$2.00", "$0.000044", "$1.999956"), ("0xE8Fd…4528", "", "$3", "$4")]
    screen.print(table(("provider", "locked", "owed", "free"), rows, right="lrrr"))
    said = out.getvalue()
    assert "…\n" not in said
    for cell in (cell for row in rows for cell in row):
        assert cell in said.replace("\n", "") if width == 20 else cell in said
    assert all(len(line) <= width for line in said.splitlines())
