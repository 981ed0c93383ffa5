"""The machine: its GPU, its ports, its clock."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import trio

from rowen.cli.doctor.codes import finding
from rowen.cli.documents import DoctorFinding
from rowen.config import Config
from rowen.protocol.errors import RowenError, UserError

SKEW_S_MAX = 30
"""Orders live for minutes; a clock that is off by more than this refuses good ones."""

# The kernel's side of NVIDIA's driver, or the card itself where no driver is loaded.
_DRIVER = Path("/proc/driver/nvidia/version")
_CARDS = Path("/sys/bus/pci/devices")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"


async def gpu_findings(
    *, is_expected: bool, driver: Path = _DRIVER, cards: Path = _CARDS
) -> AsyncIterator[DoctorFinding]:
    """NVML, where there is or should be a GPU.

    Args:
        is_expected: The owner says that there is one.
        driver: What the loaded driver shows.
        cards: Where the kernel lists devices.
    """
    if not is_expected and not has_card(driver, cards):
        return
    try:
        from rowen.gpu.nvml import NvmlProbe
    except ImportError as error:
        yield finding("nvml-missing", f"the NVML binding is not installed ({error})")
        return
    probe = NvmlProbe()
    try:
        found = await probe.inventory()
    except RowenError as error:
        yield finding("nvml-missing", str(error))
        return
    finally:
        await probe.close()
    if not found:
        yield finding("nvml-missing", "NVIDIA's driver shows no GPU")


def has_card(driver: Path, cards: Path) -> bool:
    """Whether NVIDIA's driver is loaded, or the kernel sees a display controller of theirs."""
    if driver.exists():
        return True
    try:
        for card in cards.iterdir():
            vendor = (card / "vendor").read_text().strip()
            if vendor == _NVIDIA and (card / "class").read_text().startswith(_DISPLAY):
                return True
    except OSError:
        return False
    return False


async def port_findings(config: Config) -> AsyncIterator[DoctorFinding]:
    """The ports a node that does not run would need."""
    for setting, host, port in _places(config):
        if not host:
            yield finding("address-wrong", f"{setting}: not an address to listen on")
            continue
        why = await trio.to_thread.run_sync(_why_not, host, port)
        if why:
            yield finding("port-taken", f"{setting}: {host}:{port} cannot be used ({why})")


def _places(config: Config) -> Iterator[tuple[str, str, int]]:
    from rowen.p2p.addresses import host_of, parse_listen_address, port_of
    from rowen.provider.pages import parse_place

    for text in config.provider.listen:
        try:
            address = parse_listen_address(text)
        except UserError:
            yield f"[provider] listen {text}", "", 0
        else:
            yield "[provider] listen", host_of(address), port_of(address)
    if config.watch.listen:
        try:
            yield "[watch] listen", *parse_place(config.watch.listen)
        except UserError:
            yield f"[watch] listen {config.watch.listen}", "", 0


def _why_not(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        # As a node that starts again would: connections of its former life may linger.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "another program has it"
            return error.strerror or str(error)
    return ""


def clock_finding(
    now_s: float, block_at_s: int, server_s: float | None, *, lag_s_max: int
) -> DoctorFinding | None:
    """What the newest block and an endpoint's clock say of ours.

    Args:
        now_s: Our clock, Unix time.
        block_at_s: Of the newest block.
        server_s: The endpoint's clock; None when it does not tell.
        lag_s_max: A chain whose newest block is so old lags.
    """
    ahead_s = block_at_s - now_s
    if ahead_s > SKEW_S_MAX:
        # A block is never older than it says: it is our clock that is late.
        what = f"this machine's clock is at least {ahead_s:.0f} s behind the chain's newest block"
        return finding("clock-skewed", what)
    if server_s is not None and abs(now_s - server_s) > SKEW_S_MAX:
        side = "ahead of" if now_s > server_s else "behind"
        what = f"this machine's clock is {abs(now_s - server_s):.0f} s {side} the RPC endpoint's"
        return finding("clock-skewed", what)
    if -ahead_s > lag_s_max:
        what = f"the newest block is {-ahead_s:.0f} s old"
        if server_s is None:
            what += ", or this machine's clock is ahead"
        return finding("rpc-lagging", what)
    return None
