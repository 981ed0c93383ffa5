"""Checks a document against a JSON schema: as much of the standard as the shipped ones use.

A validator of its own, so that a schema is held against what is printed and not against the
types that both were made from.
"""

import json
import re
from pathlib import Path
from typing import Any

import rowen.cli

DIRECTORY = Path(rowen.cli.__file__).parent / "schemas"
KNOWN = {
    "$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default",
    "description", "discriminator", "enum", "items", "maximum", "minimum", "pattern",
    "properties", "required", "title", "type",
}  # fmt: skip
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def schema(name: str) -> dict[str, Any]:
    """A shipped schema."""
    found: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text())
    return found


def complaints(
    value: Any, rule: dict[str, Any], root: dict[str, Any], where: str = "$"
) -> list[str]:
    """What is wrong with a value; an unknown keyword is wrong, too."""
    assert set(rule) <= KNOWN, f"this validator does not know {set(rule) - KNOWN}"
    if "$ref" in rule:
        return complaints(value, root["$defs"][rule["$ref"].removeprefix("#/$defs/")], root, where)
    if "anyOf" in rule:
        tries = [complaints(value, option, root, where) for option in rule["anyOf"]]
        return [] if any(not found for found in tries) else min(tries, key=len)
    if "enum" in rule and value not in rule["enum"]:
        return [f"{where}: {value!r} is not one of {rule['enum']}"]
    if "const" in rule and value != rule["const"]:
        return [f"{where}: {value!r} is not {rule['const']!r}"]
    kind = rule.get("type")
    if kind is not None and not _is(value, kind):
        return [f"{where}: {value!r} is not of type {kind}"]
    if isinstance(value, str) and "pattern" in rule and not re.search(rule["pattern"], value):
        return [f"{where}: {value!r} does not match {rule['pattern']}"]
    if isinstance(value, int) and not rule.get("minimum", value) <= value <= rule.get(
        "maximum", value
    ):
        return [f"{where}: {value} is out of range"]
    if isinstance(value, list):
        items = [complaints(v, rule["items"], root, f"{where}[{i}]") for i, v in enumerate(value)]
        return [complaint for found in items for complaint in found]
    return _in_object(value, rule, root, where) if isinstance(value, dict) else []


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind])


def _in_object(
    value: dict[str, Any], rule: dict[str, Any], root: dict[str, Any], where: str
) -> list[str]:
    known = rule.get("properties", {})
    found = [
        f"{where}: {name} is missing" for name in rule.get("required", ()) if name not in value
    ]
    if rule.get("additionalProperties") is False:
        found += [f"{where}: {name} is unknown" for name in value if name not in known]
    for name, inner in value.items():
        if name in known:
            found += complaints(inner, known[name], root, f"{where}.{name}")
    return found
