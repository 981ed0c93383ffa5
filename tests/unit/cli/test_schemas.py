"""The schemas that are shipped are those of what is printed."""

import json

import msgspec
import pytest

from rowen.cli.schema import DIRECTORY, SCHEMAS, encoded


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_not_stale(name: str) -> None:
    """`python -m rowen.cli.schema` after a change of the documents."""
    assert (DIRECTORY / f"{name}.json").read_bytes() == encoded(name)


def test_no_schema_is_left_over() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.json")} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_allows_nothing_unsaid(name: str) -> None:
    """A field that is not in the schema is a change that programs must hear of."""

    def objects(node: object) -> list[dict[str, object]]:
        if isinstance(node, list):
            return [found for inner in node for found in objects(inner)]
        if not isinstance(node, dict):
            return []
        found = [node] if node.get("type") == "object" else []
        return found + [inner for value in node.values() for inner in objects(value)]

    for found in objects(json.loads(encoded(name))):
        assert found.get("additionalProperties") is False, found.get("title")


def test_amounts_are_texts() -> None:
    """JSON readers round whole numbers above 2^53; 2^256 - 1 must arrive as it left."""
    from rowen.cli.buying_documents import ChannelsDocument

    value = str(2**256 - 1)
    text = json.dumps({
        "channels": [{
            "channel_id": "0x" + "ab" * 32,
            **dict.fromkeys(("payer", "provider", "signer"), "0x" + "cd" * 20),
            **dict.fromkeys(("locked", "claimed", "owed", "free"), value),
            "receipts": 0, "unlock_at_s": 0, "stopped": "",
        }]
    })  # fmt: skip
    assert msgspec.json.decode(text, type=ChannelsDocument).channels[0].locked == value
