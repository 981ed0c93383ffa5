"""Whether what stands on chain is what was built here, with the constants of a record.

Three things together leave nothing open. The address is the one that CREATE2 gives to the
committed code with these constants, so nothing else can ever stand there. The code is the
committed one outside its immutables, and each immutable has one value, which is one of those
that the constants lead to. And each getter tells the constant that bears its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rowen.chain.calls import escrow as escrow_calls
from rowen.chain.calls import stake as stake_calls
from rowen.chain.calls import token as token_calls
from rowen.chain.codec import WORD, Call
from rowen.chain.contract import Artifact, artifact, encode_words
from rowen.chain.deploying import code_at
from rowen.chain.deployments import (
    DeploymentRecord,
    create2_address,
    escrow_code,
    stake_code,
)
from rowen.chain.escrow import RpcEscrow
from rowen.chain.merkle_patricia import encode_list
from rowen.chain.rpc import RpcError, quantity
from rowen.protocol.amounts import TOKEN_DECIMALS
from rowen.protocol.eip712 import NAME, VERSION, Domain
from rowen.protocol.ids import format_address, keccak

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared.

    Attributes:
        contract: ``RowenEscrow``, ``RowenStake``, ``WalletDeployer`` or ``token``.
        name: What of it.
        expected: As the record and the build have it.
        actual: As the chain has it; ``UNKNOWN`` where it does not tell.
    """

    contract: str
    name: str
    expected: str
    actual: str

    @property
    def is_right(self) -> bool:
        """Whether nothing speaks against it."""
        return self.actual in (self.expected, UNKNOWN)


async def verify(escrow: RpcEscrow, record: DeploymentRecord) -> list[Check]:
    """Compares all that can be compared.

    Args:
        escrow: A reader for the record's address; ``RpcEscrow.connect`` would refuse a wrong one
            before it could be described.
        record: What should be there.

    Raises:
        Unavailable: The chain cannot be asked, or endpoints disagree.
    """
    deployment, bonds = record.deployment, record.stake_deployment
    constants = (
        deployment.token,
        deployment.unlock_delay_s,
        deployment.payout_delay_s,
        deployment.min_lock,
    )
    built = escrow_code(*constants)
    address = deployment.domain.escrow
    deployer = created_address(address, 1)
    escrow_checks = await _code(
        escrow, "RowenEscrow", address, _escrow_immutables(deployment.domain, deployer, constants)
    )
    checks = [
        Check("RowenEscrow", "build", artifact("RowenEscrow").source_sha256, record.source_sha256),
        _address("RowenEscrow", built, address),
        *escrow_checks,
        *await _getters(
            escrow,
            "RowenEscrow",
            address,
            escrow_checks,
            [
                ("token", escrow_calls.token(), deployment.token),
                ("unlockDelay", escrow_calls.unlock_delay(), deployment.unlock_delay_s),
                ("payoutDelay", escrow_calls.payout_delay(), deployment.payout_delay_s),
                ("minLock", escrow_calls.min_lock(), deployment.min_lock),
                ("walletDeployer", escrow_calls.wallet_deployer(), deployer),
            ],
        ),
        await _block(escrow, address, record.block),
        *await _code(escrow, "WalletDeployer", deployer, []),
    ]
    bond_constants = (address, bonds.unbond_delay_s, bonds.penalty)
    stake_checks = await _code(
        escrow,
        "RowenStake",
        bonds.address,
        [encode_words(each) for each in (*bond_constants, deployment.token)],
    )
    return [
        *checks,
        _address("RowenStake", stake_code(*bond_constants), bonds.address),
        *stake_checks,
        *await _getters(
            escrow,
            "RowenStake",
            bonds.address,
            stake_checks,
            [
                ("escrow", stake_calls.escrow(), address),
                ("token", stake_calls.token(), deployment.token),
                ("unbondDelay", stake_calls.unbond_delay(), bonds.unbond_delay_s),
                ("penalty", stake_calls.penalty(), bonds.penalty),
            ],
        ),
        # Every amount of Rowen's is in millionths of a dollar.
        *await _getters(
            escrow,
            "token",
            deployment.token,
            [],
            [("decimals", token_calls.decimals(), TOKEN_DECIMALS)],
        ),
    ]


def created_address(creator: bytes, nonce: int) -> bytes:
    """Where a contract puts its ``nonce``-th creation: keccak256(rlp([creator, nonce]))."""
    return keccak(encode_list([creator, nonce]))[12:]


def _escrow_immutables(
    domain: Domain, deployer: bytes, constants: Sequence[int | bytes]
) -> list[bytes]:
    """The value of each immutable, its own and OpenZeppelin's EIP712's, 32 bytes each."""
    words = [encode_words(each) for each in (*constants, deployer, domain.escrow, domain.chain_id)]
    words.append(domain.separator)
    for text in (NAME, VERSION):
        words.append(keccak(text.encode()))
        # OpenZeppelin's ShortString: the bytes, and their count in the last one.
        words.append(text.encode().ljust(WORD - 1, b"\0") + bytes((len(text),)))
    return words


def _address(contract: str, built: bytes, address: bytes) -> Check:
    expected = format_address(create2_address(built))
    return Check(contract, "CREATE2 address", expected, format_address(address))


async def _code(
    escrow: RpcEscrow, contract: str, address: bytes, values: Sequence[bytes]
) -> list[Check]:
    code, built = await escrow.code(address), artifact(contract)
    expected = f"0x{keccak(built.masked(built.deployed)).hex()}"
    actual = f"0x{keccak(built.masked(code)).hex()}" if code else "no code"
    checks = [Check(contract, "code without immutables", expected, actual)]
    if code and values:
        checks.append(
            Check(
                contract,
                "immutables",
                _listed(Counter(values)),
                _listed(Counter(_immutables(built, code))),
            )
        )
    return checks


def _immutables(built: Artifact, code: bytes) -> Iterator[bytes]:
    for places in built.immutables:
        found = {code[start : start + length] for start, length in places}
        # One immutable with two values is no work of the compiler's; show them all.
        yield b"".join(sorted(found))


def _listed(values: Counter[bytes]) -> str:
    return ", ".join(f"0x{each.hex()}" for each in sorted(values.elements()))


async def _getters(
    escrow: RpcEscrow,
    contract: str,
    address: bytes,
    code: Sequence[Check],
    expected: Sequence[tuple[str, Call[bytes] | Call[int], bytes | int]],
) -> list[Check]:
    """What the getters tell, given what was found of the contract's code.

    Ours answers or reverts. Another code may end a call in any way, which endpoints tell as
    they tell their own failures; then it is the code's fault, and no reason to try later.
    """
    is_ours = all(check.is_right for check in code)
    checks = []
    for name, call, value in expected:
        actual: bytes | int | None = None
        try:
            actual = await escrow.maybe(call, to=address)
        except RpcError:
            if is_ours:
                raise
        checks.append(Check(contract, name, _shown(value), _shown(actual)))
    return checks


def _shown(value: bytes | int | None) -> str:
    if value is None:
        return "no answer"
    return format_address(value) if isinstance(value, bytes) else str(value)


async def _block(escrow: RpcEscrow, address: bytes, block: int) -> Check:
    """The record's block is the first with code: audits read logs from there on."""
    expected = f"first code in block {block}"
    rpc = escrow.endpoints[0]
    answer = await rpc.call("eth_blockNumber")
    with rpc.reading("eth_blockNumber"):
        height = quantity(answer)
    if block > height:
        return Check("RowenEscrow", "block", expected, f"the chain ends at block {height}")
    try:
        has_before = block > 0 and bool(await code_at(rpc, address, block - 1))
        has = bool(await code_at(rpc, address, block))
    except RpcError:
        return Check("RowenEscrow", "block", expected, UNKNOWN)
    if has and not has_before:
        return Check("RowenEscrow", "block", expected, expected)
    when = "code before that block" if has_before else "no code in that block"
    return Check("RowenEscrow", "block", expected, when)
