"""Offers: in one's own name only, for one deployment, for a time. Threat 44."""

import dataclasses
from hashlib import sha256
from typing import Any

import msgpack
import pytest
from msgspec.structs import replace
from tests.unit.protocol import build
from tests.unit.protocol.build import DOMAIN, NOW_MS, OPERATOR, STRANGER

from rowen.protocol import messages, offers
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.messages import Hello, Signed
from rowen.protocol.offers import CLOCK_SKEW_MS_MAX, OFFER_LIFETIME_MS_MAX, read_offer, sign_offer
from rowen.protocol.statements import Offer
from rowen_scheduler.market import Claim, ClaimedRun
from rowen_scheduler.market import Offer as MarketOffer


def sold(**changes: Any) -> MarketOffer:
    first = build.variant()
    parts = (
        first.model,
        first.precision,
        first.weights_digest,
        first.build,
        first.context_units,
        first.kinds,
    )
    fields: dict[str, Any] = {
        "provider": OPERATOR.address,
        "addresses": ("/ip4/192.0.2.7/tcp/4001",),
        "variants": (build.variant(id=offers.variant_id(*parts), price_output=2**96 - 1),),
        "credit": 2**90,
        "jobs_max": 3,
        "issued_at_ms": NOW_MS,
        "expires_at_ms": NOW_MS + 600_000,
    }
    return MarketOffer(**fields | changes)


def read(hello: Hello, now_ms: int = NOW_MS, provider: bytes = OPERATOR.address) -> MarketOffer:
    return read_offer(hello, DOMAIN, provider, now_ms)


def resigned(hello: Hello, **changes: Any) -> Hello:
    """The same greeting with another statement, signed by the operator."""
    statement = replace(Offer.decode(hello.offer.words), **changes)
    return replace(hello, offer=messages.seal(statement, DOMAIN, OPERATOR))


def with_content(content: bytes) -> Hello:
    """This content, rightly hashed and signed."""
    return replace(
        resigned(sign_offer(sold(), DOMAIN, OPERATOR), content_hash=sha256(content).digest()),
        content=content,
    )


def test_an_offer_is_read_as_it_was_made() -> None:
    assert read(sign_offer(sold(), DOMAIN, OPERATOR)) == sold()


RUN = ClaimedRun(
    concurrency=1, input_per_ks=7, output_per_ks=5, first_token_ms=3, output_j_per_m=2**32 - 1
)
CLAIM = Claim(measured_at_ms=NOW_MS, energy_source="nvml_counter", runs=(RUN,) * 4)


def claiming(**changes: Any) -> dict[str, Any]:
    """A product's content with a claim, some of it changed."""
    (only,) = sold().variants
    hello = sign_offer(sold(variants=(build.variant(id=only.id, claim=CLAIM),)), DOMAIN, OPERATOR)
    (unpacked,) = msgpack.unpackb(hello.content)["variants"]
    unpacked["claim"] |= changes
    made: dict[str, Any] = unpacked
    return made


def test_a_claim_travels_with_the_product_and_is_no_part_of_it() -> None:
    """What was measured changes; what is sold stays the same."""
    (plain,) = sold().variants
    told = sold(variants=(dataclasses.replace(plain, claim=CLAIM),))
    assert read(sign_offer(told, DOMAIN, OPERATOR)) == told
    assert told.variants[0].id == plain.id


def test_nobody_relays_anothers_offer_as_their_own() -> None:
    with pytest.raises(PeerError, match="name"):
        read(sign_offer(sold(), DOMAIN, OPERATOR), provider=STRANGER.address)


def test_nobody_signs_in_anothers_name() -> None:
    """The signature must be the peer's own key, and the name inside its own address."""
    statement = build.offer(provider=OPERATOR.address)
    forged = Hello(messages.seal(statement, DOMAIN, STRANGER), b"")
    for provider in (OPERATOR.address, STRANGER.address):
        with pytest.raises(PeerError, match="name"):
            read(forged, provider=provider)


@pytest.mark.parametrize("domain", [Domain(1, DOMAIN.escrow), Domain(31337, b"\x00" * 20)])
def test_an_offer_for_another_deployment_is_refused(domain: Domain) -> None:
    with pytest.raises(PeerError, match="chain or contract"):
        read(sign_offer(sold(), domain, OPERATOR))


def test_altered_content_is_refused() -> None:
    hello = sign_offer(sold(), DOMAIN, OPERATOR)
    for at in range(0, len(hello.content), 7):
        bent = hello.content[:at] + bytes((hello.content[at] ^ 1,)) + hello.content[at + 1 :]
        with pytest.raises(PeerError, match="hash"):
            read(replace(hello, content=bent))


@pytest.mark.parametrize(("late_ms", "is_fresh"), [(-1, True), (0, False), (1, False)])
def test_an_offer_ends_at_its_expiry(late_ms: int, is_fresh: bool) -> None:
    hello = sign_offer(sold(), DOMAIN, OPERATOR)
    now_ms = NOW_MS + 600_000 + late_ms
    if is_fresh:
        read(hello, now_ms)
    else:
        with pytest.raises(PeerError, match="expired"):
            read(hello, now_ms)


@pytest.mark.parametrize(
    ("early_ms", "is_taken"), [(CLOCK_SKEW_MS_MAX, True), (CLOCK_SKEW_MS_MAX + 1, False)]
)
def test_clocks_may_differ_by_a_minute(early_ms: int, is_taken: bool) -> None:
    hello = sign_offer(sold(), DOMAIN, OPERATOR)
    if is_taken:
        read(hello, NOW_MS - early_ms)
    else:
        with pytest.raises(PeerError, match="future"):
            read(hello, NOW_MS - early_ms)


@pytest.mark.parametrize("extra_ms", [0, 1])
def test_an_offer_lives_a_day_at_most(extra_ms: int) -> None:
    expires = NOW_MS + OFFER_LIFETIME_MS_MAX + extra_ms
    hello = sign_offer(sold(expires_at_ms=expires), DOMAIN, OPERATOR)
    if extra_ms:
        with pytest.raises(PeerError, match="day"):
            read(hello)
    else:
        read(hello)


def content(**changes: Any) -> dict[str, Any]:
    """What an offer's content unpacks to, with changes."""
    unpacked: dict[str, Any] = msgpack.unpackb(sign_offer(sold(), DOMAIN, OPERATOR).content)
    return unpacked | changes


def test_msgpack_makes_the_same_content() -> None:
    assert msgpack.packb(content()) == sign_offer(sold(), DOMAIN, OPERATOR).content


VARIANT = content()["variants"][0]


@pytest.mark.parametrize(
    "wrong",
    [
        content(credit=b"\x01" * 13),
        content(credit=5),
        content(jobs_max=2**32),
        content(addresses=["/ip4/192.0.2.7/tcp/1"] * 17),
        content(addresses=["x" * 513]),
        content(variants=[VARIANT] * 257),
        content(variants=[VARIANT | {"price_output": b"\x01" * 11}]),
        content(variants=[VARIANT | {"model": ""}]),
        content(variants=[VARIANT | {"model": "m" * 129}]),
        content(variants=[VARIANT | {"weights_digest": b"\x01" * 31}]),
        content(variants=[VARIANT | {"more": 1}]),
        content(variants=[VARIANT | {"claim": {}}]),
        content(variants=[claiming(more=1)]),
        content(variants=[claiming(runs=[])]),
        content(variants=[claiming(runs=claiming()["claim"]["runs"] * 2)]),
        content(variants=[claiming(energy_source="w" * 33)]),
        content(variants=[claiming(measured_at_ms=-1)]),
        content(variants=[claiming(runs=[claiming()["claim"]["runs"][0] | {"concurrency": 0}])]),
        content(variants=[VARIANT | {"kinds": []}]),
        content(variants=[VARIANT | {"kinds": ["chat"] * 9}]),
        content(variants=[VARIANT | {"kinds": ["k" * 33]}]),
        content(more=1),
        [],
        None,
    ],
    ids=lambda wrong: str(wrong)[:20],
)
def test_content_outside_its_limits_is_refused(wrong: Any) -> None:
    with pytest.raises(PeerError):
        read(with_content(msgpack.packb(wrong)))


def test_the_variant_id_is_made_by_the_reader() -> None:
    """A seller cannot give a cheap product the id of a dear one."""
    changed = content(variants=[VARIANT | {"precision": "q2"}])
    (variant,) = read(with_content(msgpack.packb(changed))).variants
    assert variant.id != sold().variants[0].id


def test_work_of_a_kind_unknown_here_does_not_hide_the_rest() -> None:
    """A newer provider may do what this client cannot ask for yet."""
    newer = content(variants=[VARIANT | {"kinds": ["chat", "dreaming"]}])
    (variant,) = read(with_content(msgpack.packb(newer))).variants
    assert variant.kinds == ("chat", "dreaming")


@pytest.mark.parametrize("at", range(6))
def test_every_part_of_a_product_is_in_its_id(at: int) -> None:
    parts: list[Any] = ["m", "q4", b"\x01" * 32, "b", 10, ("chat",)]
    others: list[Any] = ["n", "q5", b"\x02" * 32, "c", 11, ("chat", "ocr")]
    changed = [*parts[:at], others[at], *parts[at + 1 :]]
    assert offers.variant_id(*parts) != offers.variant_id(*changed)


def test_a_products_name_cannot_flow_into_the_next_part() -> None:
    assert offers.variant_id("ab", "c", b"\x01" * 32, "", 1, ()) != offers.variant_id(
        "a", "bc", b"\x01" * 32, "", 1, ()
    )


def test_a_statement_of_another_kind_is_no_offer() -> None:
    hello = Hello(messages.seal(build.voucher(), DOMAIN, OPERATOR), b"")
    with pytest.raises(PeerError):
        read(hello)
    with pytest.raises(PeerError):
        read(Hello(Signed(build.offer().encode(), bytes(64)), b""))
