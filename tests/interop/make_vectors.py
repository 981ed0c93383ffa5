"""Writes ``docs/vectors``: what another implementation checks itself against.

Run ``python -m tests.interop.make_vectors``. Everything follows from the constants here; a
test fails when the files are stale.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from rowen.chain import authorizations
from rowen.chain.authorizations import Signable
from rowen.chain.base import ChannelKey
from rowen.chain.calls.escrow import Lock
from rowen.protocol import messages, offers, receipt_log
from rowen.protocol.admission import input_hash
from rowen.protocol.eip712 import NAME, VERSION, Domain
from rowen.protocol.ids import channel_id_of, format_address, keccak
from rowen.protocol.jobs import ChatInput, Message
from rowen.protocol.metering import Reading, cost, output_units_affordable
from rowen.protocol.signing import Key
from rowen.protocol.statements import (
    EnergySource,
    Offer,
    Order,
    Receipt,
    Release,
    Statement,
    Status,
    Voucher,
)
from rowen_scheduler.market import Offer as MarketOffer
from rowen_scheduler.market import Variant

VECTORS = Path(__file__).resolve().parents[2] / "docs" / "vectors"

OPERATOR = Key(sha256(b"rowen vectors: operator").digest())
SESSION = Key(sha256(b"rowen vectors: session").digest())
WALLET = Key(sha256(b"rowen vectors: wallet").digest())
DOMAIN = Domain(8453, bytes.fromhex("00000000000000000000000000000000005c0712"))
CHANNEL = channel_id_of(WALLET.address, OPERATOR.address, SESSION.address)
NOW_MS = 1_790_000_000_000

VARIANT_PARTS = (
    "smollm2-135m",
    "q4_1",
    sha256(b"weights").digest(),
    "llama.cpp b1",
    8192,
    ("chat", "completion"),
)
VARIANT = Variant(
    id=offers.variant_id(*VARIANT_PARTS),
    model=VARIANT_PARTS[0],
    precision=VARIANT_PARTS[1],
    weights_digest=VARIANT_PARTS[2],
    build=VARIANT_PARTS[3],
    context_units=VARIANT_PARTS[4],
    kinds=VARIANT_PARTS[5],
    output_units_max=4096,
    price_input=50_000,
    price_cached=5_000,
    price_output=200_000,
    price_request=10,
)
MARKET_OFFER = MarketOffer(
    provider=OPERATOR.address,
    addresses=("/ip4/192.0.2.7/tcp/4001",),
    variants=(VARIANT,),
    credit=5_000,
    jobs_max=4,
    issued_at_ms=NOW_MS,
    expires_at_ms=NOW_MS + 600_000,
)
SALT = sha256(b"salt").digest()
INPUT = ChatInput((Message("user", "What is a rowen?"),), temperature=0.5, seed=7, stop=("\n\n",))
ENCODED_INPUT = messages.encode_input(INPUT)
ORDER = Order(
    channel_id=CHANNEL,
    job_id=sha256(b"job").digest(),
    variant=VARIANT.id,
    input_hash=input_hash(SALT, ENCODED_INPUT),
    price_input=VARIANT.price_input,
    price_cached=VARIANT.price_cached,
    price_output=VARIANT.price_output,
    price_request=VARIANT.price_request,
    output_units_max=256,
    amount_max=1_000,
    deadline_ms=NOW_MS + 60_000,
)
RECEIPTS = 11


def receipts() -> list[Receipt]:
    """One job's eleven receipts: ten partial ones and the last, with a cached prompt."""
    made: list[Receipt] = []
    answer, billed, total = "", 0, 0
    for segment in range(RECEIPTS):
        answer += "A second crop. "
        is_last = segment == RECEIPTS - 1
        reading = Reading(30, 16 if is_last else 0, 4 * (segment + 1))
        amount = max(0, cost(ORDER, reading) - billed)
        billed, total = billed + amount, total + amount
        made.append(
            Receipt(
                channel_id=CHANNEL,
                sequence=segment,
                order_hash=ORDER.digest(DOMAIN),
                segment=segment,
                status=Status.FINAL if is_last else Status.PARTIAL,
                input_units=reading.input_units,
                cached_units=reading.cached_units,
                output_units=reading.output_units,
                amount=amount,
                total=total,
                output_hash=sha256(answer.encode()).digest(),
                started_at_ms=NOW_MS + 1_000,
                finished_at_ms=NOW_MS + 1_200 + 50 * segment,
                gpu_ms=40 * (segment + 1),
                energy_mj=2_500 * (segment + 1),
                energy_source=EnergySource.NVML_COUNTER,
            )
        )
    return made


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def type_fields(kind: type[Statement]) -> list[tuple[str, str]]:
    """(Solidity type, name) of each field, from the type string."""
    inside = kind.TYPE.partition("(")[2].removesuffix(")")
    return [(kind_name, name) for kind_name, name in (part.split() for part in inside.split(","))]


def statement_vector(
    statement: Statement, key: Key, name: str, domain: Domain = DOMAIN
) -> dict[str, Any]:
    """Everything another implementation computes on the way to a signature."""
    fields = {}
    for (solidity, field), own in zip(
        type_fields(type(statement)), statement.__struct_fields__, strict=True
    ):
        value = getattr(statement, own)
        fields[field] = _hex(value) if solidity in ("bytes32", "address") else str(int(value))
    digest = statement.digest(domain)
    return {
        "name": name,
        "primaryType": type(statement).__name__,
        "type": statement.TYPE,
        "typeHash": _hex(statement.TYPE_HASH),
        "fields": fields,
        "words": _hex(statement.encode()),
        "digest": _hex(digest),
        "signature": _hex(key.sign(digest)),
        "signer": format_address(key.address),
    }


def authorization_vector(signable: Signable, name: str) -> dict[str, Any]:
    """What a payer signs in place of a transaction of its own, in the form of a statement."""
    fields = signable.typed_data()["types"][signable.kind]
    members = ",".join(f"{field['type']} {field['name']}" for field in fields)
    kind = f"{signable.kind}({members})"
    values = [signable.message[field["name"]] for field in fields]
    words = [v.rjust(32, b"\0") if isinstance(v, bytes) else v.to_bytes(32) for v in values]
    return {
        "name": name,
        "primaryType": signable.kind,
        "type": kind,
        "typeHash": _hex(keccak(kind.encode())),
        "fields": {
            field["name"]: _hex(value) if isinstance(value, bytes) else str(value)
            for field, value in zip(fields, values, strict=True)
        },
        "words": _hex(b"".join(words)),
        "digest": _hex(signable.digest),
        "signature": _hex(WALLET.sign(signable.digest)),
        "signer": format_address(WALLET.address),
    }


def authorizations_file() -> dict[str, Any]:
    channel = ChannelKey(WALLET.address, OPERATOR.address, SESSION.address)
    deadline_s = NOW_MS // 1000 + 3600
    wanted = Lock(*channel, 5_000_000, SALT, deadline_s)
    unlock_at_s = NOW_MS // 1000 + 6 * 3600
    taken_back = authorizations.cancel_unlock(DOMAIN, channel, unlock_at_s, deadline_s)
    asked = authorizations.request_unlock(DOMAIN, channel, deadline_s)
    return {
        "domain": domain_vector(),
        "statements": [
            authorization_vector(authorizations.lock(DOMAIN, wanted), "a lock"),
            authorization_vector(asked, "a request to unlock"),
            authorization_vector(taken_back, "that request, taken back"),
        ],
    }


def domain_vector(domain: Domain = DOMAIN) -> dict[str, Any]:
    return {
        "name": NAME,
        "version": VERSION,
        "chainId": domain.chain_id,
        "verifyingContract": format_address(domain.escrow),
        "separator": _hex(domain.separator),
    }


def log_vector(entries: Sequence[bytes]) -> dict[str, Any]:
    """Heads of every prefix, and every proof in the whole log."""
    count = len(entries)
    return {
        "entries": [_hex(entry) for entry in entries],
        "leafHashes": [_hex(receipt_log.leaf_hash(entry)) for entry in entries],
        "roots": [_hex(receipt_log.root_of(entries[:n])) for n in range(count + 1)],
        "inclusion": [
            {
                "index": index,
                "count": count,
                "proof": [_hex(node) for node in receipt_log.inclusion_proof(entries, index)],
            }
            for index in range(count)
        ],
        "consistency": [
            {
                "oldCount": old,
                "count": count,
                "proof": [_hex(node) for node in receipt_log.consistency_proof(entries, old)],
            }
            for old in range(1, count + 1)
        ],
    }


def statements_file() -> dict[str, Any]:
    log = receipts()
    frontier = receipt_log.Frontier()
    for receipt in log:
        frontier = frontier.append(receipt.digest(DOMAIN))
    voucher = Voucher(
        payer=WALLET.address,
        provider=OPERATOR.address,
        total=log[-1].total,
        receipt_count=frontier.count,
        receipts_root=frontier.root(),
    )
    release = Release(channel_id=CHANNEL, total=voucher.total, deadline_s=NOW_MS // 1000 + 3600)
    greeting = offers.sign_offer(MARKET_OFFER, DOMAIN, OPERATOR)
    offer = Offer.decode(greeting.offer.words)
    signature = SESSION.sign(voucher.digest(DOMAIN))
    return {
        "domain": domain_vector(),
        "keys": [
            {
                "name": name,
                "secret": _hex(key.secret),
                "address": format_address(key.address),
                "peerId": key.peer_id,
            }
            for name, key in (("operator", OPERATOR), ("session", SESSION), ("wallet", WALLET))
        ],
        "channel": {
            "payer": format_address(WALLET.address),
            "provider": format_address(OPERATOR.address),
            "signer": format_address(SESSION.address),
            "id": _hex(CHANNEL),
        },
        "statements": [
            statement_vector(ORDER, SESSION, "an order"),
            statement_vector(log[0], OPERATOR, "a partial receipt"),
            statement_vector(log[-1], OPERATOR, "a final receipt"),
            statement_vector(voucher, SESSION, "a voucher for eleven receipts"),
            statement_vector(release, OPERATOR, "a release"),
            statement_vector(offer, OPERATOR, "an offer"),
        ],
        "claimRow": {
            "payer": format_address(voucher.payer),
            "total": str(voucher.total),
            "receiptCount": voucher.receipt_count,
            "receiptsRoot": _hex(voucher.receipts_root),
            "signature": _hex(signature),
            "row": _hex(voucher.row(signature)),
        },
        "offer": {
            "content": _hex(greeting.content),
            "contentHash": _hex(offer.content_hash),
            "variant": {
                "model": VARIANT.model,
                "precision": VARIANT.precision,
                "weightsDigest": _hex(VARIANT.weights_digest),
                "build": VARIANT.build,
                "contextUnits": VARIANT.context_units,
                "kinds": list(VARIANT.kinds),
                "id": _hex(VARIANT.id),
            },
        },
        "input": {
            "salt": _hex(SALT),
            "encoded": _hex(ENCODED_INPUT),
            "hash": _hex(ORDER.input_hash),
        },
    }


def receipts_file() -> dict[str, Any]:
    log = receipts()
    return {
        "domain": domain_vector(),
        "receipts": [
            statement_vector(receipt, OPERATOR, f"receipt {receipt.sequence}") for receipt in log
        ],
        "log": log_vector([receipt.digest(DOMAIN) for receipt in log]),
    }


def metering_file() -> dict[str, Any]:
    prices = [(0, 0, 0, 0), (1, 1, 1, 0), (50_000, 5_000, 200_000, 10), (10**6, 0, 10**6, 1)]
    readings = [(0, 0, 0), (1, 0, 0), (1, 1, 1), (30, 16, 44), (999_999, 0, 1), (10**6, 10**6, 7)]
    examples = []
    for price_input, price_cached, price_output, price_request in prices:
        order = Order(
            **{field: getattr(ORDER, field) for field in ORDER.__struct_fields__}
            | {
                "price_input": price_input,
                "price_cached": price_cached,
                "price_output": price_output,
                "price_request": price_request,
            }
        )
        for reading in readings:
            examples.append(
                {
                    "priceInput": str(price_input),
                    "priceCached": str(price_cached),
                    "priceOutput": str(price_output),
                    "priceRequest": str(price_request),
                    "amountMax": str(order.amount_max),
                    "outputUnitsMax": order.output_units_max,
                    "inputUnits": reading[0],
                    "cachedUnits": reading[1],
                    "outputUnits": reading[2],
                    "cost": str(cost(order, Reading(*reading))),
                    "outputUnitsAffordable": output_units_affordable(order, reading[0]),
                }
            )
    return {"perUnits": "1000000", "examples": examples}


def example_messages() -> list[messages.Said]:
    """One of each message."""
    log = receipts()
    job = ORDER.job_id
    order = messages.seal(ORDER, DOMAIN, SESSION)
    receipt = messages.seal(log[0], DOMAIN, OPERATOR)
    voucher = Voucher(
        payer=WALLET.address,
        provider=OPERATOR.address,
        total=log[0].total,
        receipt_count=1,
        receipts_root=receipt_log.root_of([log[0].digest(DOMAIN)]),
    )
    signed = messages.seal(voucher, DOMAIN, SESSION)
    escrow = DOMAIN.escrow
    return [
        offers.sign_offer(MARKET_OFFER, DOMAIN, OPERATOR),
        messages.Attach(DOMAIN.chain_id, escrow, WALLET.address, 0, None),
        messages.Attach(DOMAIN.chain_id, escrow, WALLET.address, 1, signed),
        messages.Attached(1, signed),
        messages.Submit(order, SALT, ENCODED_INPUT),
        messages.Accepted(job, 30),
        messages.No(job, "price_too_low", "output price is 200000, the order offers 1", None),
        messages.No(None, "channel_unknown", "no confirmed funds", 1_000),
        messages.Chunk(job, 0, 4, "A second crop. "),
        messages.Bill(receipt, job),
        messages.Bill(receipt, job, "stop", ""),
        messages.Pay(signed),
        messages.Cancel(job),
        messages.Disputed(3, "amount is 12, units times price make 11"),
    ]


def messages_file() -> dict[str, Any]:
    return {
        "protocol": messages.PROTOCOL_ID,
        "messages": [
            {"message": type(message).__name__, "encoded": _hex(messages.encode(message))}
            for message in example_messages()
        ],
    }


FILES = {
    "statements.json": statements_file,
    "receipts.json": receipts_file,
    "authorizations.json": authorizations_file,
    "metering.json": metering_file,
    "messages.json": messages_file,
}


def render(name: str) -> str:
    """The text of one file."""
    return json.dumps(FILES[name](), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (VECTORS / name).write_text(render(name))


if __name__ == "__main__":
    main()
