"""The arrows between packages, as far as import-linter cannot draw them.

`lint-imports` holds the layers and the foreign libraries; here are the standard library, the
builtins and what only shows when the program runs.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PURE = [ROOT / "node" / "rowen" / "protocol", ROOT / "scheduler" / "rowen_scheduler"]

# What computes and nothing else. A clock, a socket, a file or a random number is handed in instead.
# fmt: off
PURE_STDLIB = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy",
    "dataclasses", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "hmac",
    "ipaddress", "itertools", "json", "math", "numbers", "operator", "re", "statistics", "string",
    "struct", "types", "typing", "unicodedata",
}
# fmt: on
IMPURE_BUILTINS = frozenset({"breakpoint", "eval", "exec", "input", "open", "print"})


def impurities(source: str) -> Iterator[str]:
    """Names what a pure module may not import or call, with its line."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                modules = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_BUILTINS:
                yield f"line {node.lineno}: {name}()"
                continue
            case _:
                continue
        for module in modules:
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names - PURE_STDLIB and id(node) not in for_types:
                yield f"line {node.lineno}: import {module}"


def test_the_core_takes_no_clock_socket_randomness_or_file() -> None:
    """A decision that reads the world cannot be replayed from its inputs."""
    found = [
        f"{path.relative_to(ROOT)} {what}"
        for directory in PURE
        for path in sorted(directory.rglob("*.py"))
        for what in impurities(path.read_text())
    ]
    assert not found, "\n".join(["handed in, not fetched:", *found])


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from random import Random",
        "import os.path",
        "def f():\n    import socket",
        "open('x')",
    ],
)
def test_an_impure_module_is_found(source: str) -> None:
    assert list(impurities(source))


def test_a_type_may_name_what_is_handed_in() -> None:
    assert not list(impurities("if TYPE_CHECKING:\n    from random import Random"))


@pytest.mark.parametrize(
    "module", ["rowen", "rowen.cli", "rowen.protocol.errors", "rowen_scheduler"]
)
def test_importing_is_quick(module: str) -> None:
    """`rowen --help` must answer at once; libp2p and web3 take seconds to import."""
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"libp2p", "web3", "xllamacpp", "sqlalchemy"} & set(done.stdout.split())
