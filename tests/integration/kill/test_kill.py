"""``kill -9`` of provider and client at random moments of a paid stream."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from rowen.chain.devnet import open_devnet
from rowen.protocol.signing import Key

ROUNDS = int(os.environ.get("ROWEN_KILLS", "20"))
WAIT_S = 120.0


class Zygote:
    """The process that forks lives, and their last words."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        program = Path(__file__).with_name("lives.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program)], stdin=subprocess.PIPE, text=True
        )

    def spawn(self, **life: Any) -> Life:
        self._count += 1
        said = self._folder / f"life-{self._count}"
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**life, "say": str(said)}) + "\n")
        self._process.stdin.flush()
        return Life(said)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Life:
    """One forked process."""

    def __init__(self, said: Path) -> None:
        self._said = said

    def facts(self) -> list[dict[str, Any]]:
        if not self._said.exists():
            return []
        lines = self._said.read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def wait_for(self, name: str) -> Any:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            for fact in self.facts():
                if name in fact:
                    return fact[name]
                assert "error" not in fact, fact["error"] + Path(f"{self._said}.log").read_text()
            time.sleep(0.01)
        raise AssertionError(f"no {name} within {WAIT_S:g} s: {self.facts()}")

    def fact_with(self, name: str) -> dict[str, Any]:
        self.wait_for(name)
        return next(fact for fact in self.facts() if name in fact)

    def tell_to_settle(self) -> None:
        Path(f"{self._said}.settle").touch()

    def kill(self) -> None:
        pid = self.wait_for("pid")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.002)


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    forker = Zygote(tmp_path)
    yield forker
    forker.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_no_acknowledged_voucher_is_lost_nor_paid_twice(
    tmp_path: Path, zygote: Zygote
) -> None:
    """P1, P7: after each kill both are restarted on their disks; in the end all books agree."""
    async with open_devnet() as devnet:
        seller, session, wallet = (Key(bytes([n]) * 32) for n in (7, 8, 9))
        await devnet.mint(wallet.address, 10**12)
        for key in (wallet, seller):
            await devnet.set_balance_wei(key.address, 10**18)
        domain = devnet.deployment.domain
        chain = {
            "rpc": devnet.url, "chain_id": domain.chain_id, "escrow": domain.escrow.hex(),
        }  # fmt: skip
        listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
        world = World(zygote, tmp_path, chain, listen, seller, session, wallet)
        await trio.to_thread.run_sync(world.play)


class World:
    """Two nodes that die a lot."""

    def __init__(
        self,
        zygote: Zygote,
        folder: Path,
        chain: dict[str, Any],
        listen: str,
        seller: Key,
        session: Key,
        wallet: Key,
    ) -> None:
        self._zygote = zygote
        self._provider = {
            "kind": "provider", **chain, "key": seller.secret.hex(), "listen": listen,
            "db": str(folder / "seller.db"),
        }  # fmt: skip
        self._client = {
            "kind": "client", **chain, "key": session.secret.hex(),
            "payer": wallet.address.hex(), "provider": f"{listen}/p2p/{seller.peer_id}",
            "db": str(folder / "buyer.db"),
        }  # fmt: skip
        self._fund = {
            "kind": "fund", **chain, "wallet": wallet.secret.hex(),
            "provider": seller.address.hex(), "signer": session.address.hex(),
            "amount": 10**11, "db": str(folder / "wallet.db"),
        }  # fmt: skip

    def play(self) -> None:
        seed = random.randrange(2**32)
        rng = random.Random(seed)
        self._zygote.spawn(**self._fund).wait_for("ready")
        provider = self._zygote.spawn(**self._provider)
        provider.wait_for("ready")
        client = self._zygote.spawn(**self._client)
        client.wait_for("ready")
        answered = 0
        for _ in range(ROUNDS):
            time.sleep(rng.uniform(0.0, 0.6))
            if rng.random() < 0.5:
                provider.kill()
                provider = self._zygote.spawn(**self._provider)
            else:
                answered += sum("paid" in fact for fact in client.facts())
                client.kill()
                client = self._zygote.spawn(**self._client)
        provider.wait_for("ready")
        # At least one whole answer after all that.
        client.wait_for("ready")
        client.wait_for("paid")
        client.kill()
        provider.kill()
        self._compare()

    def _compare(self) -> None:
        provider = self._zygote.spawn(**self._provider, settle=True)
        provider.wait_for("ready")
        client = self._zygote.spawn(**self._client, settle=True)
        bought = client.fact_with("log")
        provider.tell_to_settle()
        sold = provider.fact_with("credit")
        (channel,) = sold["channels"]
        assert bought["stopped"] == channel["stopped"] == ""
        assert bought["jobs"] == channel["jobs"] == 0
        assert bought["log"] == channel["issued"] == channel["paid"]
        assert sold["credit"] == bought["log"][1] > 0
