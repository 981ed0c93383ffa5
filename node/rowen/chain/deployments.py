"""What was deployed where: the record that is committed, and the addresses that must come of it.

A record is a file ``contracts/deployments/<chain id>.json``. Everything in it can be checked
against the chain (``rowen.chain.verification``), because an address made by CREATE2 depends on
the code and its constants alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from rowen.chain.base import Deployment
from rowen.chain.contract import artifact, encode_words
from rowen.chain.staking import StakeDeployment
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address, keccak, parse_address

# https://github.com/Arachnid/deterministic-deployment-proxy; anvil puts it into its genesis.
CREATE2_FACTORY: Final = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
SALT: Final = bytes(32)
SCHEMA_FILE: Final = "deployment.schema.json"

FORMAT: Final = "rowen-deployment/1"
_RECORD_BYTES_MAX: Final = 16 * 1024

HexAddress = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,29}$")]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class EscrowRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A RowenEscrow.

    Attributes:
        address: Where it stands.
        unlock_delay_s: From asking for a channel's rest to taking it.
        payout_delay_s: From asking for another payout address to its taking over.
        min_lock: The least a channel is opened with, token units.
    """

    address: HexAddress
    unlock_delay_s: Seconds
    payout_delay_s: Seconds
    min_lock: Amount


class StakeRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A RowenStake.

    Attributes:
        address: Where it stands.
        unbond_delay_s: From asking for a bond back to getting it.
        penalty: What one offence costs, token units.
    """

    address: HexAddress
    unbond_delay_s: Seconds
    penalty: Amount


class DeploymentRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployment of the contracts.

    Attributes:
        format: ``FORMAT``.
        chain_id: EIP-155.
        block: The escrow's first block: nothing of it is in the ones below.
        token: The one ERC-20 of this deployment.
        escrow: The payment channels.
        stake: The bonds beside them.
        source_sha256: Of the sources and tools that the code was built from.
    """

    format: Literal["rowen-deployment/1"] = FORMAT
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    block: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
    token: HexAddress
    escrow: EscrowRecord
    stake: StakeRecord
    source_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]

    @property
    def deployment(self) -> Deployment:
        """As the escrow's reader knows it."""
        return Deployment(
            domain=Domain(self.chain_id, parse_address(self.escrow.address)),
            token=parse_address(self.token),
            unlock_delay_s=self.escrow.unlock_delay_s,
            payout_delay_s=self.escrow.payout_delay_s,
            min_lock=int(self.escrow.min_lock),
        )

    @property
    def stake_deployment(self) -> StakeDeployment:
        """As the stake's reader knows it."""
        return StakeDeployment(
            address=parse_address(self.stake.address),
            unbond_delay_s=self.stake.unbond_delay_s,
            penalty=int(self.stake.penalty),
        )


def create2_address(code: bytes) -> bytes:
    """Where the usual deployer puts a contract, 20 bytes. Source: EIP-1014.

    Args:
        code: What creates it, constructor arguments included.
    """
    return keccak(b"\xff" + CREATE2_FACTORY + SALT + keccak(code))[12:]


def escrow_code(token: bytes, unlock_delay_s: int, payout_delay_s: int, min_lock: int) -> bytes:
    """What creates an escrow."""
    constants = encode_words(token, unlock_delay_s, payout_delay_s, min_lock)
    return artifact("RowenEscrow").bytecode + constants


def stake_code(escrow: bytes, unbond_delay_s: int, penalty: int) -> bytes:
    """What creates a stake."""
    return artifact("RowenStake").bytecode + encode_words(escrow, unbond_delay_s, penalty)


def plan(
    chain_id: int,
    token: bytes,
    *,
    unlock_delay_s: int,
    payout_delay_s: int,
    min_lock: int,
    unbond_delay_s: int,
    penalty: int,
) -> DeploymentRecord:
    """The record of a deployment with these constants, whose block is not known yet.

    Raises:
        UserError: The contracts would refuse the constants.
    """
    if not 0 < unlock_delay_s <= 30 * 86_400 or not 0 < payout_delay_s <= 30 * 86_400:
        raise UserError("the escrow's delays must be 1 second to 30 days")
    if not unlock_delay_s < unbond_delay_s <= 180 * 86_400:
        raise UserError(
            f"the unbond delay of {unbond_delay_s} s must be above the unlock delay of"
            f" {unlock_delay_s} s, or a bond could leave before its offence shows; and at most"
            " 180 days"
        )
    if penalty == 0:
        raise UserError("a penalty of nothing deters nobody")
    escrow = create2_address(escrow_code(token, unlock_delay_s, payout_delay_s, min_lock))
    return DeploymentRecord(
        chain_id=chain_id,
        block=0,
        token=format_address(token),
        escrow=EscrowRecord(
            address=format_address(escrow),
            unlock_delay_s=unlock_delay_s,
            payout_delay_s=payout_delay_s,
            min_lock=str(min_lock),
        ),
        stake=StakeRecord(
            address=format_address(create2_address(stake_code(escrow, unbond_delay_s, penalty))),
            unbond_delay_s=unbond_delay_s,
            penalty=str(penalty),
        ),
        source_sha256=artifact("RowenEscrow").source_sha256,
    )


def encode_record(record: DeploymentRecord) -> bytes:
    """The file."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def read_record(path: Path) -> DeploymentRecord:
    """Reads a record.

    Raises:
        UserError: It is not there, or no record.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_RECORD_BYTES_MAX + 1)
        if len(raw) > _RECORD_BYTES_MAX:
            raise ValueError(f"over {_RECORD_BYTES_MAX} bytes")
        return msgspec.json.decode(raw, type=DeploymentRecord)
    except FileNotFoundError as error:
        raise UserError(f"there is no deployment record {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no deployment record: {error}") from error


def schema() -> bytes:
    """The file ``deployment.schema.json`` beside the records."""
    made: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A deployment of Rowen's contracts",
    }
    made |= msgspec.json.schema(DeploymentRecord)
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


if __name__ == "__main__":
    Path("contracts/deployments", SCHEMA_FILE).write_bytes(schema())
