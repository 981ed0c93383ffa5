"""What is signed: bound to every field, one chain and one contract. P6; threats 2 and 3."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_typed_data
from msgspec.structs import replace
from tests.interop.make_vectors import type_fields
from tests.unit.protocol import build

from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import keccak
from rowen.protocol.signing import Key, recover
from rowen.protocol.statements import EnergySource, Receipt, Statement, Status

DOMAINS = [Domain(chain, escrow) for chain in (1, 31337) for escrow in (b"\xe5" * 20, b"\xe6" * 20)]
FIELDS = [
    pytest.param(statement, field, id=f"{type(statement).__name__}.{field}")
    for statement in build.STATEMENTS
    for field in statement.__struct_fields__
]
EACH = pytest.mark.parametrize("statement", build.STATEMENTS, ids=lambda s: type(s).__name__)


def mutated(value: Any) -> Any:
    """The nearest other value."""
    if isinstance(value, bytes):
        return value[:-1] + bytes((value[-1] ^ 1,))
    if isinstance(value, Status):
        return Status.FINAL if value is Status.PARTIAL else Status.PARTIAL
    if isinstance(value, EnergySource):
        return EnergySource.RAPL if value is EnergySource.NONE else EnergySource.NONE
    return value + 1


@pytest.mark.parametrize(("statement", "field"), FIELDS)
def test_a_signature_binds_the_field(statement: Statement, field: str) -> None:
    """P6: "mutate one field of every type: 100 % of fields, 0 accepted"."""
    signature = build.OPERATOR.sign(statement.digest(build.DOMAIN))
    other = replace(statement, **{field: mutated(getattr(statement, field))})
    digest = other.digest(build.DOMAIN)
    assert digest != statement.digest(build.DOMAIN)
    assert recover(digest, signature) != build.OPERATOR.address


@EACH
@pytest.mark.parametrize("signed_on", DOMAINS, ids=str)
@pytest.mark.parametrize("shown_on", DOMAINS, ids=str)
def test_a_signature_holds_on_one_deployment(
    statement: Statement, signed_on: Domain, shown_on: Domain
) -> None:
    """P6: "valid for exactly one chain, contract, client, provider and job"."""
    signature = build.OPERATOR.sign(statement.digest(signed_on))
    signer = recover(statement.digest(shown_on), signature)
    assert (signer == build.OPERATOR.address) == (signed_on == shown_on)


def test_no_type_can_pass_for_another() -> None:
    assert len({statement.TYPE_HASH for statement in build.STATEMENTS}) == len(build.STATEMENTS)


def typed_data(statement: Statement, domain: Domain) -> dict[str, Any]:
    """The statement as eth_account wants it."""
    fields = type_fields(type(statement))
    name = type(statement).__name__
    values = [getattr(statement, field) for field in statement.__struct_fields__]
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            name: [{"name": field, "type": kind} for kind, field in fields],
        },
        "primaryType": name,
        "domain": {
            "name": "Rowen",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.escrow.hex(),
        },
        "message": {
            field: "0x" + value.hex() if kind == "address" else value
            for (kind, field), value in zip(fields, values, strict=True)
        },
    }


@EACH
@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_eth_account_signs_the_same_digest(statement: Statement, domain: Domain) -> None:
    """An implementation that is not ours agrees on separator, type hash and digest."""
    signable = encode_typed_data(full_message=typed_data(statement, domain))
    assert signable.header == domain.separator
    assert bytes(_hash_eip191_message(signable)) == statement.digest(domain)
    signed = Account.sign_message(signable, build.SESSION.secret)
    compact = signed.r.to_bytes(32, "big") + (signed.s | (signed.v - 27) << 255).to_bytes(32, "big")
    assert recover(statement.digest(domain), compact) == build.SESSION.address
    assert build.SESSION.sign(statement.digest(domain)) == compact


@EACH
def test_the_type_hash_is_that_of_the_type_string(statement: Statement) -> None:
    assert keccak(statement.TYPE.encode()) == statement.TYPE_HASH
    assert statement.TYPE.startswith(type(statement).__name__ + "(")


@EACH
def test_a_statement_survives_its_words(statement: Statement) -> None:
    words = statement.encode()
    assert len(words) == 32 * len(statement.__struct_fields__)
    assert type(statement).decode(words) == statement


@EACH
def test_the_words_are_the_abi_encoding(statement: Statement) -> None:
    """The contract reads what was signed, with no encoding in between."""
    from eth_abi.abi import encode

    kinds = [kind for kind, _ in type_fields(type(statement))]
    values = [getattr(statement, field) for field in statement.__struct_fields__]
    values = [
        "0x" + value.hex() if kind == "address" else value
        for kind, value in zip(kinds, values, strict=True)
    ]
    assert encode(kinds, values) == statement.encode()


def padding_of(statement: Statement) -> list[int]:
    """Positions of bytes that no field uses."""
    sizes = {"address": 20, "uint96": 12, "uint64": 8, "uint32": 4, "uint8": 1, "bytes32": 32}
    return [
        32 * word + at
        for word, (kind, _) in enumerate(type_fields(type(statement)))
        for at in range(32 - sizes[kind])
    ]


@EACH
def test_padding_that_is_not_zero_is_refused(statement: Statement) -> None:
    """Every padding byte: a second encoding would be a second identity."""
    words = statement.encode()
    for at in padding_of(statement):
        for value in (1, 0x80):
            bent = words[:at] + bytes((value,)) + words[at + 1 :]
            with pytest.raises(PeerError):
                type(statement).decode(bent)


@EACH
@pytest.mark.parametrize("change", [-32, -1, 1, 32, 10_000])
def test_words_of_another_length_are_refused(statement: Statement, change: int) -> None:
    words = statement.encode()
    with pytest.raises(PeerError, match="bytes"):
        type(statement).decode((words + bytes(max(0, change)))[: len(words) + change])


@pytest.mark.parametrize("word", [4, 15])
@pytest.mark.parametrize("value", [8, 255])
def test_a_word_outside_its_enum_is_refused(word: int, value: int) -> None:
    words = bytearray(build.receipt().encode())
    words[32 * word + 31] = value
    with pytest.raises(PeerError, match="outside"):
        Receipt.decode(bytes(words))


LIMITS = {"uint96": 2**96, "uint64": 2**64, "uint32": 2**32}


@pytest.mark.parametrize(("statement", "field"), FIELDS)
def test_a_field_takes_what_fits_its_type_and_no_more(statement: Statement, field: str) -> None:
    names = dict(zip(statement.__struct_fields__, type_fields(type(statement)), strict=True))
    kind = names[field][0]
    if kind in LIMITS:
        top = replace(statement, **{field: LIMITS[kind] - 1})
        assert type(statement).decode(top.encode()) == top
        for wrong in (LIMITS[kind], -1):
            with pytest.raises(ValueError, match=r"int|argument|format"):
                replace(statement, **{field: wrong}).encode()
    elif kind in ("bytes32", "address"):
        value = getattr(statement, field)
        # struct would pad or cut these silently.
        for misfit in (b"", value[:-1], value + b"\x00"):
            with pytest.raises(ValueError, match="expected"):
                replace(statement, **{field: misfit}).encode()


def test_a_claim_row_has_132_bytes_in_the_contracts_order() -> None:
    voucher = build.voucher(total=7, receipt_count=9)
    signature = build.SESSION.sign(voucher.digest(build.DOMAIN))
    row = voucher.row(signature)
    assert len(row) == 132
    assert row[:20] == voucher.payer
    assert int.from_bytes(row[20:32], "big") == 7
    assert int.from_bytes(row[32:36], "big") == 9
    assert row[36:68] == voucher.receipts_root
    assert row[68:] == signature


def test_an_order_for_one_provider_is_nothing_to_another() -> None:
    """Threat 2: the channel id holds the provider's address."""
    stranger = Key(b"\x09" * 32)
    from rowen.protocol.ids import channel_id_of

    theirs = channel_id_of(build.PAYER, stranger.address, build.SESSION.address)
    assert build.order().channel_id != theirs


def test_equal_domains_are_equal() -> None:
    assert Domain(1, b"\x01" * 20) == Domain(1, b"\x01" * 20)
    assert hash(Domain(1, b"\x01" * 20)) == hash(Domain(1, b"\x01" * 20))
    assert Domain(1, b"\x01" * 20) != "a domain"


@EACH
def test_fields_stand_in_the_order_of_the_type(statement: Statement) -> None:
    """The words are packed by hand; a swapped pair of equal types would go unnoticed."""
    for own, (_, name) in zip(
        statement.__struct_fields__, type_fields(type(statement)), strict=True
    ):
        head, *rest = own.removesuffix("_s").split("_")
        assert head + "".join(part.capitalize() for part in rest) == name


@EACH
def test_a_statement_is_printed_as_people_compare_it(statement: Statement) -> None:
    """Hashes in hexadecimal, as explorers and command lines show them."""
    printed = str(statement)
    assert "\\x" not in printed
    for name in statement.__struct_fields__:
        value = getattr(statement, name)
        assert f"{name}={f'0x{value.hex()}' if isinstance(value, bytes) else value}" in printed


ORIGINS = [EnergySource.NVML_COUNTER, EnergySource.NVML_POWER, EnergySource.RAPL]


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("is_weak", [False, True])
def test_a_source_of_energy_carries_its_marks(
    origin: EnergySource, is_shared: bool, is_weak: bool
) -> None:
    """In one byte, which the contract hashes and does not read."""
    source = origin.marked(is_shared=is_shared, is_weak=is_weak)
    assert (source.origin, source.is_shared, source.is_weak) == (origin, is_shared, is_weak)
    assert source.marked(is_shared=False, is_weak=False) is origin
    assert Receipt.decode(build.receipt(energy_source=source).encode()).energy_source is source


def test_what_is_not_metered_has_no_marks() -> None:
    assert EnergySource.NONE.marked(is_shared=True, is_weak=True) is EnergySource.NONE
    words = build.receipt(energy_source=EnergySource.NONE).encode()
    for wrong in (4, 8, 12, 16, 255):
        with pytest.raises(PeerError, match="outside its type"):
            Receipt.decode(words[:-1] + bytes([wrong]))
