#!/usr/bin/env python3
"""Check the claim's gas in `snapshots/Gas.json` against the receipt of a real transaction on anvil.

    cd contracts && npm ci && npm run ship && python3 tools/gas_on_anvil.py

Locks 100 channels, claims all of them twice in one transaction each, and compares the second receipt, where every
`claimed` was nonzero before, with the figure the forge test wrote. Exit status 1 if they differ by more than 0.5 %: the
two batches hold different random bytes, so they are never quite equal. Standard library only; anvil signs.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTRACTS = Path(__file__).resolve().parents[1]
ROWS = 100
LOCKED = 25_000_000
FIRST_TOTAL, SECOND_TOTAL = 1_234_567, 7_654_321
TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Voucher": [
        {"name": "payer", "type": "address"},
        {"name": "provider", "type": "address"},
        {"name": "total", "type": "uint96"},
        {"name": "receiptCount", "type": "uint32"},
        {"name": "receiptsRoot", "type": "bytes32"},
    ],
}


class Chain:
    """JSON-RPC to one anvil."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def call(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def send(self, sender: str, data: str, to: str | None = None) -> dict[str, Any]:
        """Mines one transaction and returns its receipt."""
        transaction = {"from": sender, "data": data, "gas": hex(16_000_000)} | ({"to": to} if to else {})
        transaction_hash = self.call("eth_sendTransaction", transaction)
        for _ in range(1000):
            receipt: dict[str, Any] | None = self.call("eth_getTransactionReceipt", transaction_hash)
            if receipt is None:
                time.sleep(0.01)
            elif receipt["status"] == "0x1":
                return receipt
            else:
                raise RuntimeError(f"reverted: {receipt}")
        raise RuntimeError(f"not mined: {transaction_hash}")


@contextlib.contextmanager
def anvil() -> Iterator[Chain]:
    """A chain of its own on a free port, gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [CONTRACTS / "node_modules/.bin/anvil", "--port", str(port), "--accounts", str(ROWS + 2), "--silent"]
    process = subprocess.Popen(command)
    try:
        chain = Chain(port)
        for _ in range(200):
            with contextlib.suppress(urllib.error.URLError):
                chain.call("eth_chainId")
                break
            time.sleep(0.05)
        yield chain
    finally:
        process.terminate()
        process.wait(timeout=10)


def words(*values: int | str) -> str:
    """ABI encoding of static values: 32 bytes each."""
    return "".join(f"{value if isinstance(value, int) else int(value, 16):064x}" for value in values)


def main() -> int:
    artifacts = {name: json.loads((CONTRACTS / "out-ship" / f"{name}.sol" / f"{name}.json").read_bytes())
                 for name in ("TestUSDC", "RowenEscrow")}

    def call(name: str, function: str, *arguments: int | str) -> str:
        return "0x" + artifacts[name]["methodIdentifiers"][function] + words(*arguments)

    with anvil() as chain:
        payer, provider, *signers = chain.call("eth_accounts")
        code = {name: artifact["bytecode"]["object"] for name, artifact in artifacts.items()}
        token = chain.send(payer, code["TestUSDC"])["contractAddress"]
        escrow = chain.send(payer, code["RowenEscrow"] + words(token, 3600, 3600, 1))["contractAddress"]
        chain.send(payer, call("TestUSDC", "mint(address,uint256)", payer, ROWS * LOCKED), token)
        chain.send(payer, call("TestUSDC", "approve(address,uint256)", escrow, ROWS * LOCKED), token)
        for signer in signers:
            lock = call("RowenEscrow", "lock(address,address,uint96)", provider, signer, LOCKED)
            chain.send(payer, lock, escrow)
        chain_id = int(chain.call("eth_chainId"), 16)

        def row(index: int, total: int) -> str:
            root = f"{pow(3, 1000 + index, 2**256 - 189) ^ total:064x}"
            voucher = {"payer": payer, "provider": provider, "total": str(total), "receiptCount": 1000 + index,
                       "receiptsRoot": "0x" + root}
            domain = {"name": "Rowen", "version": "1", "chainId": chain_id, "verifyingContract": escrow}
            typed = {"types": TYPES, "primaryType": "Voucher", "domain": domain, "message": voucher}
            signature = bytes.fromhex(chain.call("eth_signTypedData_v4", signers[index], typed)[2:])
            r, s, v = signature[:32].hex(), int.from_bytes(signature[32:64]), signature[64]
            return f"{payer[2:]}{total:024x}{1000 + index:08x}{root}{r}{s | (v - 27) << 255:064x}"

        gas = []
        for total in (FIRST_TOTAL, SECOND_TOTAL):
            rows = "".join(row(index, total) for index in range(ROWS))
            padded = rows + "0" * (-len(rows) % 64)
            claim = call("RowenEscrow", "claim(address,bytes)", provider, 64, len(rows) // 2) + padded
            receipt = chain.send(provider, claim, escrow)
            if len(receipt["logs"]) != ROWS:
                raise RuntimeError(f"{len(receipt['logs'])} of {ROWS} rows paid")
            gas.append(int(receipt["gasUsed"], 16))

    per_row = gas[1] // ROWS
    snapshot = int(json.loads((CONTRACTS / "snapshots/Gas.json").read_bytes())[f"claim, per row of {ROWS}"])
    print(f"claim of {ROWS} rows: {gas[1]:,} gas on anvil, {per_row:,} a row; forge test: {snapshot:,} a row")
    return int(abs(per_row - snapshot) > 0.005 * snapshot)


if __name__ == "__main__":
    sys.exit(main())
