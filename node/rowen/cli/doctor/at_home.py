"""The node's files: home, settings, keys, disk, model."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from rowen.chain.keystore import key_address, load_key
from rowen.cli.doctor.codes import finding
from rowen.cli.documents import DoctorFinding
from rowen.config import Config
from rowen.engine.models import entry, locate, verify
from rowen.engine.ocr import package_folder
from rowen.home import Home
from rowen.protocol.errors import UserError
from rowen.protocol.signing import Key
from rowen.provider.daemon import claim_terms_of, price_plan_of
from rowen.provider.engines import prices_of
from rowen.provider.floors import below_cost

MEGABYTE = 1_000_000


async def home_findings(home: Home) -> AsyncIterator[DoctorFinding]:
    """What others can read that they must not."""
    if home.open_to_others:
        yield finding("home-open", f"{home.path} is open to other users")
    for file in (home.operator_key, home.wallet_key, home.session_key, home.password):
        if file.exists() and file.stat().st_mode & 0o077:
            mode = file.stat().st_mode & 0o777
            yield finding("key-open", f"{file} has mode {mode:03o}: others can read it")


async def disk_findings(home: Home, config: Config) -> AsyncIterator[DoctorFinding]:
    """Room for the journal."""
    free = shutil.disk_usage(home.path).free
    if free <= config.watch.disk_free_mb * MEGABYTE:
        yield finding(
            "disk-low",
            f"{free // MEGABYTE} MB are free at {home.path}, [watch] disk_free_mb is "
            f"{config.watch.disk_free_mb}",
        )


async def key_findings(home: Home, password: str | None) -> AsyncIterator[DoctorFinding]:
    """The operator key: there, whole, and opened by the password."""
    file = home.operator_key
    if not file.exists():
        yield finding("key-missing", f"there is no operator key at {file}")
        return
    try:
        await key_address(file)
    except UserError as error:
        yield finding("key-damaged", str(error))
        return
    if password is None:
        yield finding("password-missing", "no password for the keys was named, and none is kept")
        return
    if file.stat().st_mode & 0o077:
        # Told already; it would not be opened.
        return
    try:
        await load_key(file, password)
    except UserError as error:
        code = "password-wrong" if "wrong password" in str(error) else "key-damaged"
        yield finding(code, str(error))


async def opened_key(home: Home, password: str | None) -> Key | None:
    """The operator key; None when it cannot be opened, which ``key_findings`` explains."""
    if password is None:
        return None
    try:
        return await load_key(home.operator_key, password)
    except UserError:
        return None


async def model_findings(home: Home, config: Config) -> AsyncIterator[DoctorFinding]:
    """The models of embedded engines, if there are some: there, and whole to the last byte."""
    for name in dict.fromkeys((config.provider.model, config.embeddings.model)):
        if not name:
            continue
        try:
            model = entry(name)
            file: Path = locate(name, home.models)
        except UserError as error:
            yield finding("model-missing", str(error))
            continue
        try:
            await verify(file, model.weights_digest)
        except UserError as error:
            yield finding("model-damaged", str(error))
    if config.ocr.enabled:
        try:
            package_folder()
        except UserError as error:
            yield finding("model-missing", str(error))


async def price_findings(home: Home, config: Config) -> AsyncIterator[DoctorFinding]:
    """Settings of money that the node would refuse to sell with."""
    await trio.lowlevel.checkpoint()
    try:
        price_plan_of(config)
        claim_terms_of(config)
        below = _below_cost(home, config)
    except UserError as error:
        yield finding("price-invalid", str(error))
        return
    if not config.provider.below_floor:
        for what in below:
            yield finding("price-below-cost", what)


def _below_cost(home: Home, config: Config) -> list[str]:
    try:
        model = entry(config.provider.model)
    except UserError:
        # None, or none that we know; that has a code of its own.
        return []
    return below_cost(home, config, model.model, model.precision, prices_of(config))
