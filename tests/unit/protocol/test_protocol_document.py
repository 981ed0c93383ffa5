"""docs/protocol.md says what the code does."""

from tests.unit.protocol.doc_tables import DOCUMENT, refreshed

from rowen.protocol import framing, jobs, messages, metering, offers, units

TEXT = DOCUMENT.read_text()


def test_its_tables_are_fresh() -> None:
    """`python -m tests.unit.protocol.doc_tables` after a change of the protocol."""
    assert refreshed(TEXT) == TEXT


def test_its_numbers_are_those_of_the_code() -> None:
    for number in (
        framing.FRAME_BYTES_MAX,
        metering.PRICE_UNITS,
        offers.CLOCK_SKEW_MS_MAX // 1000,
        offers.OFFER_LIFETIME_MS_MAX // 3_600_000,
        units.TEMPLATE_UNITS,
        units.TEMPLATE_UNITS_PER_MESSAGE,
        units.SILENT_UNITS,
        jobs.MESSAGES_MAX,
        jobs.ITEMS_MAX,
    ):
        assert f"{number:,}" in TEXT
    assert messages.PROTOCOL_ID in TEXT
