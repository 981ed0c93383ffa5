"""EIP-712: the domain that ties every signature to one chain and one contract.

``encode_data`` of all our types is a row of 32-byte words, which is also their ABI
encoding. Those words are what travels and what is stored, so nothing is re-encoded
between the wire, the hash, the evidence and the contract.
"""

from __future__ import annotations

from sha3 import keccak_256

from rowen.protocol.ids import keccak

NAME = "Rowen"
VERSION = "1"

_DOMAIN_TYPE_HASH = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


class Domain:
    """One deployment of the escrow; the separator is computed once.

    Attributes:
        chain_id: EIP-155 chain id.
        escrow: Address of the escrow contract, 20 bytes.
    """

    __slots__ = ("_prefix", "chain_id", "escrow")

    def __init__(self, chain_id: int, escrow: bytes) -> None:
        self.chain_id = chain_id
        self.escrow = escrow
        separator = keccak(
            b"".join(
                (
                    _DOMAIN_TYPE_HASH,
                    keccak(NAME.encode()),
                    keccak(VERSION.encode()),
                    chain_id.to_bytes(32, "big"),
                    bytes(12),
                    escrow,
                )
            )
        )
        self._prefix = b"\x19\x01" + separator

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Domain) and other._prefix == self._prefix

    def __hash__(self) -> int:
        return hash(self._prefix)

    def __repr__(self) -> str:
        return f"Domain(chain_id={self.chain_id}, escrow=0x{self.escrow.hex()})"

    @property
    def separator(self) -> bytes:
        """The domain separator, 32 bytes."""
        return self._prefix[2:]

    def digest(self, type_hash: bytes, words: bytes) -> bytes:
        """What is signed: ``keccak256(0x1901 ‖ separator ‖ hashStruct)``, 32 bytes.

        Args:
            type_hash: keccak256 of the type string, 32 bytes.
            words: encodeData without the type hash, n x 32 bytes.
        """
        # `keccak`, spelled out: every signature in and out comes by here.
        struct_hash = keccak_256(type_hash + words).digest()
        digest: bytes = keccak_256(self._prefix + struct_hash).digest()
        return digest
