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
from rowen.cli.people import column_dollars, counted, dollars, joules, short, table
from rowen.cli.runner import run_async
from rowen.config import load_config
from rowen.home import Home
from rowen.provider.earnings import EarningsReport, Grouping, LineReport
from rowen.provider.wall import parse_day, zone_of


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
            show(document, as_json=as_json, for_people=lambda screen: _print(screen, document))
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


def _print(screen: Console, document: EarningsDocument) -> None:
    if not document.lines:
        screen.print("Nothing was sold in this time.")
        return
    header = (
        document.by, "jobs", "tokens out", "potential", "earned", "settled",
        "energy", "gas", "power", "net",
    )  # fmt: skip
    rows = [_row(short(line.key), line) for line in document.lines]
    rows.append(_row("total", document.total))
    screen.print(table(header, rows, right="lrrrrrrrrr"))
    screen.print(
        "potential: billed, no voucher yet · earned: promised by vouchers · settled: on chain",
        style="dim",
    )
    if int(document.credit):
        screen.print(f"{dollars(document.credit)} can be withdrawn: rowen withdraw")
    for why in _unknowns(document.total):
        screen.print(why, style="yellow")


def _row(key: str, line: EarningsLine) -> tuple[str, ...]:
    mark = "*" if line.unknown else ""
    return (
        key,
        str(line.jobs),
        f"{line.output_units:,}",
        column_dollars(line.potential),
        column_dollars(line.earned),
        column_dollars(line.settled),
        joules(line.energy_mj) if line.jobs > line.unmetered_jobs else "–",
        "–" if line.gas is None else column_dollars(line.gas),
        "–" if line.power is None else column_dollars(line.power),
        _signed(line.net) + mark,
    )


def _unknowns(total: EarningsLine) -> list[str]:
    said = []
    if "gas" in total.unknown:
        coins = int(total.gas_wei or 0) / 10**18
        said.append(
            f"* net is before {coins:.9f} coin of gas: set [costs] coin_usd to have it in dollars"
        )
    if "power" in total.unknown and total.power is None:
        said.append("* net is before power: set [costs] electricity_kwh")
    elif "power" in total.unknown:
        jobs = counted(total.unmetered_jobs, "job")
        said.append(f"* net is before the power of {jobs} whose energy nothing here measured")
    return said


def _signed(units: str) -> str:
    return f"-{column_dollars(units[1:])}" if units.startswith("-") else column_dollars(units)
