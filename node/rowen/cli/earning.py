"""``rowen earnings``: the books of the node, for people, spreadsheets and programs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from rowen.cli.asking_daemon import answered
from rowen.cli.exits import Exit
from rowen.cli.money_documents import EarningsDocument, EarningsLine
from rowen.cli.output import show
from rowen.cli.people import counted, dollars, facts, joules, short, table
from rowen.cli.runner import run_async
from rowen.config import load_config
from rowen.home import Home
from rowen.protocol.amounts import TOKEN_DECIMALS
from rowen.provider.earnings import EarningsReport, Grouping, LineReport
from rowen.provider.wall import parse_day, zone_of

THOUSAND = 1_000 * 10**TOKEN_DECIMALS


def show_earnings(
    home: Home,
    password_file: Path | None,
    *,
    by: Grouping,
    since: str | None,
    until: str | None,
    as_csv: bool,
    as_json: bool,
) -> int:
    """Prints the books."""
    config = load_config(home.config)
    # Read here too: a wrong date or zone should be said before anything is asked of anybody.
    zone_of(config.provider.timezone)
    for text in (since, until):
        if text is not None:
            parse_day(text)

    async def work() -> int:
        report = await answered(
            home, config, password_file, EarningsReport, "earnings",
            lambda till: till.earnings(config, by, since, until),
            by=by, since=since, until=until,
        )  # fmt: skip
        document = document_of(report, since, until, config.provider.timezone)
        if as_csv and not as_json:
            write_csv(document)
        else:
            show(document, as_json=as_json, for_people=lambda screen: print_books(screen, document))
        return Exit.OK

    return run_async(work)


def document_of(
    report: EarningsReport, since: str | None, until: str | None, timezone: str
) -> EarningsDocument:
    """The report as a document."""
    return EarningsDocument(
        by=report.by,
        since=since,
        until=until,
        timezone=timezone,
        lines=[_line(line) for line in report.lines],
        total=_line(report.total),
        credit=str(report.credit),
    )


def write_csv(document: EarningsDocument) -> None:
    """One row a line, amounts in whole token units; empty is not known. The total is left out."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = [name for name in EarningsLine.__struct_fields__ if name not in ("key", "unknown")]
    writer.writerow([document.by, *names])
    for line in document.lines:
        values = (getattr(line, name) for name in names)
        writer.writerow([line.key, *("" if value is None else value for value in values)])
    sys.stdout.flush()


def _line(line: LineReport) -> EarningsLine:
    fields = msgspec.structs.asdict(line)
    for name in ("potential", "earned", "settled", "gas_wei", "gas", "power", "net"):
        fields[name] = None if fields[name] is None else str(fields[name])
    return EarningsLine(**fields | {"unknown": list(line.unknown)})


def print_books(screen: Console, document: EarningsDocument) -> None:
    """The books for a person, on eighty columns."""
    if not document.lines:
        screen.print("Nothing was sold in this time.")
        return
    digits = _digits(document)
    rows = [_row(short(line.key), line, digits) for line in document.lines]
    rows.append(_row("total", document.total, digits))
    header = (document.by, "jobs", "potential", "earned", "settled", "net")
    screen.print(table(header, rows, right="lrrrrr"))
    screen.print("potential: billed, no voucher yet · earned: by voucher · settled: on chain",
                 style="dim")  # fmt: skip
    facts(screen, _costs(document.total))
    if int(document.credit):
        screen.print(f"{dollars(document.credit)} can be withdrawn: rowen withdraw")
    for why in _unknowns(document.total):
        screen.print(why, style="yellow")


def _digits(document: EarningsDocument) -> int:
    """Digits after the point that fit on a line: all six, or cents once it is thousands."""
    amounts = (document.total.potential, document.total.earned, document.total.settled)
    return 2 if max(map(int, amounts)) >= THOUSAND else TOKEN_DECIMALS


def _row(key: str, line: EarningsLine, digits: int) -> tuple[str, ...]:
    amounts = (line.potential, line.earned, line.settled, line.net)
    told = [_rounded(int(amount), digits) for amount in amounts]
    mark = "*" if line.unknown else ""
    return (key, f"{line.jobs:,}", *told[:-1], told[-1] + mark)


def _rounded(units: int, digits: int) -> str:
    """Dollars, rounded down in size: a sum is never shown larger than it is."""
    unit = 10 ** (TOKEN_DECIMALS - digits)
    whole, part = divmod(abs(units) // unit, 10**digits)
    return f"{'-' if units < 0 else ''}${whole:,}.{part:0{digits}d}"


def _costs(total: EarningsLine) -> list[tuple[str, str]]:
    """What it took, of all lines together; single lines have it in --csv and --json."""
    tokens = f"{total.output_units:,} written, {total.input_units:,} read"
    found = [("tokens", tokens)]
    if total.jobs > total.unmetered_jobs:
        found.append(("energy", joules(total.energy_mj)))
    if total.power is not None:
        found.append(("power", dollars(total.power)))
    if total.gas is not None:
        found.append(("gas", dollars(total.gas)))
    return found


def _unknowns(total: EarningsLine) -> list[str]:
    said = []
    if "gas" in total.unknown:
        coins = int(total.gas_wei or 0) / 10**18
        said.append(f"* net is before {coins:.9f} coin of gas: set [costs] coin_usd")
    if "power" in total.unknown and total.power is None:
        said.append("* net is before power: set [costs] electricity_kwh")
    elif "power" in total.unknown:
        jobs = counted(total.unmetered_jobs, "job")
        said.append(f"* net is before the power of {jobs}: nothing measured it")
    return said
