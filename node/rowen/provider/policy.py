"""The owner's rules for each GPU, read from ``[gpu]``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rowen.config import GpuConfig
from rowen.gpu.judging import MIB, Limits
from rowen.protocol.errors import UserError
from rowen_scheduler.hours import DAY_MINUTES, Hours, parse_hours

NEVER_PERCENT = 1_000_000
"""More than any load: a limit that is never reached."""

# What may differ from GPU to GPU.
_OVERRIDABLE = frozenset(
    {"hours", "reserve_mib", "need_mib", "vram_max_mib", "sm_percent", "codec_percent", "ignore"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The owner's rules for one GPU.

    Attributes:
        limits: What counts as the owner's work, and how much memory stays free.
        hours: When it may be lent.
        ignore: Names of programs whose work does not count.
    """

    limits: Limits = field(default_factory=Limits)
    hours: Hours = field(default_factory=Hours)
    ignore: tuple[str, ...] = ()


UNWATCHED = Policy(limits=Limits(sm_percent=NEVER_PERCENT, codec_percent=NEVER_PERCENT))
"""Yields to nothing but the owner's switch."""


def policy_of(config: GpuConfig, uuid: str) -> Policy:
    """The rules for one GPU: the general ones, and what is said of it alone.

    Raises:
        UserError: They cannot be read; the message says where and how they are written.
    """
    for text in config.overrides:
        named, changes = _override(text)
        # A prefix is enough, as long as people read UUIDs.
        if uuid.startswith(named):
            config = replace(config, **changes)
    try:
        hours = parse_hours(config.hours)
    except ValueError as error:
        raise UserError(f"[gpu] hours: {error}") from error
    return Policy(
        limits=Limits(
            sm_percent=max(1, config.sm_percent),
            codec_percent=max(1, config.codec_percent),
            reserve_bytes=config.reserve_mib * MIB,
            need_bytes=config.need_mib * MIB,
            own_bytes_max=config.vram_max_mib * MIB if config.vram_max_mib else None,
        ),
        hours=hours,
        ignore=config.ignore,
    )


def _override(text: str) -> tuple[str, dict[str, Any]]:
    where = f"[gpu] overrides: {text!r}"
    example = "write it as 'GPU-1a2b reserve_mib=8192 hours=\"22:00-07:00\"'"
    try:
        named, *words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{where}: {example}") from error
    kinds = {one.name: one.default for one in fields(GpuConfig) if one.name in _OVERRIDABLE}
    changes: dict[str, Any] = {}
    for word in words:
        key, is_there, value = word.partition("=")
        if not is_there or key not in kinds:
            known = ", ".join(sorted(_OVERRIDABLE))
            raise UserError(f"{where}: {word!r} is not one of {known}; {example}")
        if isinstance(kinds[key], tuple):
            changes[key] = tuple(part.strip() for part in value.split(",") if part.strip())
        elif value.isdecimal():
            changes[key] = int(value)
        else:
            raise UserError(f"{where}: {key} wants a whole number, got {value!r}")
    if not named or not changes:
        raise UserError(f"{where}: it changes nothing; {example}")
    return named, changes


def wall_clock(timezone: str, now_s: Callable[[], float]) -> Callable[[], int]:
    """The owner's clock on the wall: minutes of the week, 0 is Monday 00:00.

    Raises:
        UserError: There is no such time zone here.
    """
    if not timezone:
        return lambda: _minute_of_week(datetime.fromtimestamp(now_s()).astimezone())
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError(
            f"[gpu] timezone: this machine knows no {timezone!r}; write it as 'Europe/Berlin'"
            " (on a small system, install tzdata)"
        ) from error
    return lambda: _minute_of_week(datetime.fromtimestamp(now_s(), zone))


def _minute_of_week(moment: datetime) -> int:
    return moment.weekday() * DAY_MINUTES + moment.hour * 60 + moment.minute
