"""Every trouble that ``rowen doctor`` knows. A code is stable: programs and searches rely on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from rowen.cli.documents import DoctorFinding

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Code:
    """One trouble.

    Attributes:
        severity: An ``error`` keeps the node from earning or safe keeping; a ``warning`` may.
        do: What helps.
    """

    severity: Severity
    do: str


CODES: Final[Mapping[str, Code]] = {
    # --- its files
    "home-missing": Code("error", "run `rowen init`, or name the right --home"),
    "home-open": Code("error", "run `chmod 700` on it"),
    "config-invalid": Code("error", "correct the place that is named; docs/settings.md has all"),
    "key-missing": Code("error", "run `rowen init`, or take yours in with `rowen keys import`"),
    "key-damaged": Code("error", "restore the file from your backup"),
    "key-open": Code("error", "run `chmod 600` on the file"),
    "password-missing": Code("error", "name a file: --password-file or ROWEN_PASSWORD_FILE"),
    "password-wrong": Code("error", "find the password the keys were made with"),
    "disk-low": Code("error", "free space: without a disk the node ends"),
    # --- what it sells
    "model-missing": Code("error", "run `rowen models pull`"),
    "model-damaged": Code("error", "delete the file and run `rowen models pull`"),
    "engine-unready": Code("error", "see the engine's log, and start it again"),
    "nvml-missing": Code(
        "error", "install NVIDIA's driver; in a container, pass the GPU in (docker/README.md)"
    ),
    "price-invalid": Code("error", "correct the setting; `rowen serve` would refuse it"),
    "price-below-cost": Code("error", "raise it, or set [provider] below_floor = true"),
    # --- its network
    "port-taken": Code("error", "stop the program that has it, or choose another port"),
    "address-wrong": Code("error", "write it as /ip4/0.0.0.0/tcp/4137"),
    # --- its chain and money
    "escrow-unset": Code("error", "put the contract's address into [chain] escrow"),
    "escrow-wrong": Code("error", "correct [chain] escrow, or install the matching Rowen"),
    "chain-wrong": Code("error", "correct [chain] rpc or chain_id"),
    "rpc-dead": Code("error", "start the endpoint, or correct [chain] rpc"),
    "rpc-disagrees": Code("error", "one endpoint lies or lags: take it out of [chain] rpc"),
    "rpc-alone": Code("warning", "configure a second endpoint: one alone is believed"),
    "rpc-lagging": Code("warning", "wait, or use another endpoint"),
    "clock-skewed": Code("error", "set the clock, and let it be kept by NTP"),
    "gas-low": Code("error", "send the operator address some of the chain's coin"),
    "payout-unset": Code(
        "warning", "run `rowen payout 0x…` with a cold address: safe from thieves"
    ),
    "key-in-use": Code("error", "stop the other node: two with one key sign two truths"),
    "key-used-elsewhere": Code("error", "stop the other node: two with one key sign two truths"),
    "transaction-stuck": Code("warning", "see [chain] fee_max_gwei"),
    "unclaimed-old": Code("error", "run `rowen settle`, and see what else stands here"),
}


def finding(code: str, what: str) -> DoctorFinding:
    """A trouble that was found.

    Args:
        code: One of ``CODES``.
        what: What exactly is so, with values.
    """
    known = CODES[code]
    return DoctorFinding(code=code, severity=known.severity, what=what, do=known.do)
