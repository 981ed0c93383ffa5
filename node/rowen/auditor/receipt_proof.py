"""One receipt, proven to stand in the log that a client signed for.

The proof is that of RFC 9162 section 2.1.3, so any transparency-log tool verifies it: leaf,
index, count, path and root. A buyer who kept one receipt needs no more of a bundle than this.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rowen.auditor.bundle import Absent, Folder, Unreadable
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.evidence import (
    LIMITS,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    RECEIPTS,
    VOUCHERS,
    FileName,
    RecordReader,
    decode_manifest,
)
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import Signed
from rowen.protocol.receipt_log import inclusion_proof, leaf_hash, root_of
from rowen.protocol.signing import recover
from rowen.protocol.statements import Receipt, Voucher


class ReceiptProof(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt, the voucher that covers it, and the path between them.

    Attributes:
        receipt: As the provider signed it.
        voucher: As the client signed it; its words hold count and root.
        entry: The leaf entry, which is the receipt's EIP-712 digest, 32 bytes.
        leaf: ``SHA-256(0x00 ‖ entry)``.
        index: Position in the log, from 0.
        count: Receipts in the tree.
        path: Sibling hashes, leaf side first.
        root: Tree head, as in the voucher.
    """

    receipt: Signed
    voucher: Signed
    entry: bytes
    leaf: bytes
    index: int
    count: int
    path: tuple[bytes, ...]
    root: bytes

    def to_json(self) -> bytes:
        """One JSON object and a newline, bytes as 0x and hexadecimal digits."""
        packed = msgspec.json.encode(
            _hexadecimal(msgspec.to_builtins(self, builtin_types=(bytes,)))
        )
        return msgspec.json.format(packed, indent=2) + b"\n"


def receipt_proof(path: Path, channel_id: bytes, sequence: int) -> ReceiptProof:
    """The proof for one receipt of a bundle, against its channel's newest voucher.

    Says nothing about the rest of the bundle; see ``verify``.

    Raises:
        UserError: No bundle, or it has no such channel or receipt, or the two disagree.
    """
    try:
        with Folder(path) as folder:
            domain = decode_manifest(folder.read(MANIFEST, MANIFEST_BYTES_MAX)).domain
            voucher, signed_voucher = _newest_voucher(folder, domain, channel_id)
            entries: list[bytes] = []
            found: Signed | None = None
            for signed in _signed(folder, RECEIPTS):
                receipt = Receipt.decode(signed.words)
                if receipt.channel_id == channel_id and len(entries) < voucher.receipt_count:
                    if len(entries) == sequence:
                        found = signed
                    entries.append(receipt.digest(domain))
    except (Absent, Unreadable, PeerError) as error:
        raise UserError(f"no proof from {path}: {error}") from error
    if found is None:
        raise UserError(f"no receipt {sequence} among {len(entries)} of 0x{channel_id.hex()}")
    if root_of(entries) != voucher.receipts_root:
        raise UserError("the voucher was signed for other receipts: verify the bundle first")
    return ReceiptProof(
        receipt=found,
        voucher=signed_voucher,
        entry=entries[sequence],
        leaf=leaf_hash(entries[sequence]),
        index=sequence,
        count=len(entries),
        path=tuple(inclusion_proof(entries, sequence)),
        root=voucher.receipts_root,
    )


def _newest_voucher(folder: Folder, domain: Domain, channel_id: bytes) -> tuple[Voucher, Signed]:
    newest: tuple[Voucher, Signed] | None = None
    for signed in _signed(folder, VOUCHERS):
        voucher = Voucher.decode(signed.words)
        signer = recover(voucher.digest(domain), signed.signature)
        is_ours = channel_id_of(voucher.payer, voucher.provider, signer) == channel_id
        if is_ours and (newest is None or voucher.receipt_count > newest[0].receipt_count):
            newest = voucher, signed
    if newest is None:
        raise UserError(f"the bundle has no voucher for channel 0x{channel_id.hex()}")
    return newest


def _signed(folder: Folder, name: FileName) -> Iterator[Signed]:
    with folder.open(name) as file:
        yield from RecordReader(Signed).read(file.chunks(LIMITS.file_bytes_max))


def _hexadecimal(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, dict):
        return {key: _hexadecimal(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hexadecimal(inner) for inner in value]
    return value
