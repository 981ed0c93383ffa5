"""The shipped JSON schemas, made from ``documents``. ``python -m rowen.cli.schema`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rowen.cli import bench_documents as bench
from rowen.cli import buying_documents as buying
from rowen.cli import chain_documents as c
from rowen.cli import demo_document as demo
from rowen.cli import documents as d
from rowen.cli import gpu_documents as g
from rowen.cli import money_documents as money

DIRECTORY = Path(__file__).parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS: dict[str, Any] = {
    "error": d.ErrorDocument,
    "version": d.VersionDocument,
    "config-show": d.ConfigDocument,
    "init": d.InitDocument,
    "keys-list": d.KeysDocument,
    "keys-import": d.KeyDocument,
    "keys-export": d.KeyDocument,
    "doctor": d.DoctorDocument,
    "support-bundle": d.SupportDocument,
    "models-list": d.ModelsDocument,
    "models-pull": d.ModelDocument,
    "models-verify": d.ModelDocument,
    "devnet": d.DevnetDocument,
    "devnet-fund": d.FundedDocument,
    "serve": d.ServingDocument,
    "status": d.StatusDocument,
    "settle": d.SettleDocument,
    "bench": bench.BenchDocument,
    "earnings": money.EarningsDocument,
    "withdraw": money.WithdrawDocument,
    "payout": money.PayoutDocument,
    "gpu": g.GpuDocument,
    "pause": g.PauseDocument,
    "resume": g.PauseDocument,
    "channel-open": buying.ChannelOpenedDocument,
    "channel-list": buying.ChannelsDocument,
    "channel-close": buying.ChannelClosedDocument,
    "channel-sign": c.WishDocument,
    "channel-send": c.SentDocument,
    "quote": buying.QuoteDocument,
    "run": buying.RunLine,
    "embed": buying.EmbedDocument,
    "ocr": buying.OcrDocument,
    "audit-export": d.ExportDocument,
    "audit-verify": d.VerdictDocument,
    "audit-report": c.ReportDocument,
    "stake-status": c.StakeDocument,
    "stake-bond": c.StakeDocument,
    "stake-unbond": c.StakeDocument,
    "stake-cancel": c.StakeDocument,
    "stake-withdraw": c.StakeDocument,
    "chain-deploy": c.DeployedDocument,
    "chain-verify": c.CheckedDocument,
    "demo": demo.DemoDocument,
}
"""From a command, its words joined by dashes, to what it prints with ``--json``."""


def encoded(name: str) -> bytes:
    """The schema's file as it must be."""
    schema = {"$schema": DIALECT, "title": f"rowen {name.replace('-', ' ')} --json"}
    schema |= msgspec.json.schema(SCHEMAS[name])
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def write() -> None:
    """Writes every file anew."""
    for name in SCHEMAS:
        (DIRECTORY / f"{name}.json").write_bytes(encoded(name))


if __name__ == "__main__":
    write()
