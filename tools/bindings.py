"""Writes typed Python for the contracts' functions, from the ABI that the compiler wrote.

    python tools/bindings.py [--check]

One module a contract in `node/rowen/chain/calls`, each function as one Python function with the
argument's types. With `--check` nothing is written: the exit status is 1 when a file is stale.
Standard library only.
"""

from __future__ import annotations

import builtins
import json
import keyword
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHAIN = Path(__file__).resolve().parents[1] / "node" / "rowen" / "chain"
MODULES = {"RowenEscrow": "escrow", "RowenStake": "stake", "TestUSDC": "token"}
"""From a contract to the module of its calls."""

SUBJECTS = {
    "RowenEscrow": "Calls of RowenEscrow.",
    "RowenStake": "Calls of RowenStake.",
    "TestUSDC": "Calls of a token with ERC-20, ERC-2612 and ERC-3009, such as TestUSDC.",
}
LINE_MAX = 100


def module(contract: str) -> str:
    """The source of a contract's module, as `ruff format` leaves it."""
    abi = json.loads((CHAIN / "abi" / f"{contract}.json").read_bytes())["abi"]
    functions = [entry for entry in abi if entry["type"] == "function"]
    structs: dict[str, dict[str, Any]] = {}
    for function in functions:
        for argument in function["inputs"]:
            collect(argument, structs)
    parts = [
        f'"""{SUBJECTS[contract]}\n\nWritten by tools/bindings.py; do not edit.\n"""\n',
        "from __future__ import annotations\n",
    ]
    typing = ["from collections.abc import Sequence"] if '"tuple[]"' in json.dumps(abi) else []
    typing += ["from typing import NamedTuple"] if structs else []
    if typing:
        parts.append("\n".join(typing) + "\n")
    parts.append("from rowen.chain.codec import Call\n")
    parts += ["".join(constant(name, entry) for name, entry in structs.items())] if structs else []
    parts += [f"\n{struct(name, entry)}" for name, entry in structs.items()]
    parts += [f"\n{binding(function)}" for function in functions]
    return "\n".join(parts).replace("\n\n\n\n", "\n\n\n")


def collect(argument: dict[str, Any], structs: dict[str, dict[str, Any]]) -> None:
    """Adds the structs of an argument, inner ones first."""
    for component in argument.get("components", ()):
        collect(component, structs)
    if "components" in argument:
        structs[struct_name(argument)] = argument


def struct_name(argument: dict[str, Any]) -> str:
    """Solidity's name of a struct."""
    return str(argument["internalType"]).split()[-1].split(".")[-1].removesuffix("[]")


def constant(name: str, entry: dict[str, Any]) -> str:
    """The struct's type as the ABI writes it, under a name."""
    pieces = pieces_of(kind_of(entry).removesuffix("[]"))
    body = "\n".join(f'    "{piece}"' for piece in pieces)
    one = f'_{snake(name).upper()} = "{"".join(pieces)}"'
    return f"{one}\n" if len(one) <= LINE_MAX else f"_{snake(name).upper()} = (\n{body}\n)\n"


def pieces_of(kind: str) -> list[str]:
    """A long type in parts that fit a line."""
    pieces = [""]
    for part in re.findall(r"[^,]+,?", kind):
        if len(pieces[-1]) + len(part) > LINE_MAX - 10:
            pieces.append("")
        pieces[-1] += part
    return pieces


def struct(name: str, entry: dict[str, Any]) -> str:
    """A struct as a named tuple."""
    fields = [f"    {snake(each['name'])}: {type_of(each)}" for each in entry["components"]]
    head = f'class {name}(NamedTuple):\n    """The contract\'s ``{name}``."""\n\n'
    return "\n" + head + "\n".join(fields) + "\n"


def binding(function: dict[str, Any]) -> str:
    """A function."""
    name, inputs, outputs = function["name"], function["inputs"], function["outputs"]
    names = [snake(each["name"]) or f"argument{i}" for i, each in enumerate(inputs)]
    result = returned(outputs)
    arguments = [f"{n}: {type_of(each)}" for n, each in zip(names, inputs, strict=True)]
    head = f"def {snake(name)}({', '.join(arguments)}) -> Call[{result}]:"
    if len(head) > LINE_MAX:
        listed = "".join(f"    {argument},\n" for argument in arguments)
        head = f"def {snake(name)}(\n{listed}) -> Call[{result}]:"
    kinds = [expression(each) for each in inputs]
    values = [f'"{name}"', row(kinds), row(names)]
    if outputs:
        values.append(row([expression(each) for each in outputs]))
    body = f"    return Call({', '.join(values)})"
    if len(body) > LINE_MAX:
        body = "    return Call(\n" + "".join(folded(value) for value in values) + "    )"
    return f'\n{head}\n    """``{name}``."""\n{body}\n'


def folded(value: str) -> str:
    """One argument of the call, in as many lines as the formatter would take."""
    if len(value) + 9 <= LINE_MAX:
        return f"        {value},\n"
    inner = "".join(f"            {part},\n" for part in value.strip("()").split(", "))
    return f"        (\n{inner}        ),\n"


def row(parts: list[str]) -> str:
    """A tuple."""
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def expression(argument: dict[str, Any]) -> str:
    """Python that gives the argument's type as the ABI writes it."""
    if "components" not in argument:
        return f'"{argument["type"]}"'
    suffix = argument["type"].removeprefix("tuple")
    return f"_{snake(struct_name(argument)).upper()}" + (f' + "{suffix}"' if suffix else "")


def kind_of(argument: dict[str, Any]) -> str:
    """The argument's type as the ABI writes it."""
    if "components" not in argument:
        return str(argument["type"])
    inner = ",".join(kind_of(each) for each in argument["components"])
    return f"({inner}){argument['type'].removeprefix('tuple')}"


def type_of(argument: dict[str, Any]) -> str:
    """The argument's type in Python."""
    kind = argument["type"]
    if kind == "tuple[]":
        return f"Sequence[{struct_name(argument)}]"
    if kind == "tuple":
        return struct_name(argument)
    if kind == "string":
        return "str"
    if kind == "bool":
        return "bool"
    return "int" if kind.startswith("uint") else "bytes"


def returned(outputs: list[dict[str, Any]]) -> str:
    """What a call returns in Python."""
    types = [type_of(each) for each in outputs]
    if len(types) < 2:
        return types[0] if types else "None"
    return f"tuple[{', '.join(types)}]"


def snake(name: str) -> str:
    """`lockWithPermit2` → `lock_with_permit2`; `DOMAIN_SEPARATOR` → `domain_separator`."""
    words: Iterator[str] = (m[0] for m in re.finditer(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name))
    made = "_".join(words).lower()
    return f"{made}_" if keyword.iskeyword(made) or made in dir(builtins) else made


def main(arguments: list[str]) -> int:
    """Writes what is stale, or complains about it."""
    stale = []
    for contract, name in MODULES.items():
        path, text = CHAIN / "calls" / f"{name}.py", module(contract)
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(path.name)
        if "--check" not in arguments:
            path.write_text(text)
    if "--check" in arguments and stale:
        print(f"stale: {', '.join(stale)}; run python tools/bindings.py", file=sys.stderr)
        return 1
    print(f"{'written' if stale else 'unchanged'}: {', '.join(stale or MODULES.values())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
