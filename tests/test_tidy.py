"""House rules as ordinary tests, where no linter holds them.

Each rule is a function from a file to complaints. The last tests show that each rule can complain.
"""

import ast
import io
import json
import re
import subprocess
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 80

VAGUE_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
MONEY = re.compile(r"(^|_)(amount|claimed|locked|owed|paid|total|wei)$|^price_per_")
LEFT_FOR_LATER = re.compile(r"\b(TODO|FIXME|XXX)\b")
ELSEWHERE = re.compile(r"pypi\.org|pythonhosted\.org|npmjs\.(org|com)|(?<![\w.])/(work|root)/")
BARE_NOQA = re.compile(r"#\s*noqa(?!: [A-Z]+\d+(, [A-Z]+\d+)* - \S)", re.IGNORECASE)
BARE_TYPE_IGNORE = re.compile(r"type:\s*ignore(?!\[[\w, -]+\]\s+# \S)")

Rule = Callable[[str, str], Iterator[str]]


@cache
def files() -> list[str]:
    """Every file of the repository that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@cache
def text_of(name: str) -> str | None:
    """A file's text, or None if it is not text."""
    try:
        return (ROOT / name).read_text()
    except UnicodeDecodeError:
        return None


def is_ours(name: str) -> bool:
    """Neither vendored nor written by a tool; nor this file, which holds a breach of every rule."""
    return "vendor" not in PurePosixPath(name).parts and not name.endswith(
        (".json", "LICENSE", "tests/test_tidy.py")
    )


# --------------------------------------------------------------------------------- rules for Python


def module_is_one_idea(name: str, text: str) -> Iterator[str]:
    """Aim for 300 lines a module and 50 a function; these bounds are where it must be cut."""
    lines = text.count("\n")
    if lines > MODULE_LINES_MAX and not name.startswith("tests/"):
        yield f"{lines} lines, at most {MODULE_LINES_MAX}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"line {node.lineno}: {node.name} has {length} lines"


def module_has_a_name(name: str, _text: str) -> Iterator[str]:
    """A drawer marked "miscellaneous" fills up."""
    for part in PurePosixPath(name).with_suffix("").parts:
        if part in VAGUE_NAMES:
            yield f"{part} says nothing about what is inside"


def ignores_say_why(_name: str, text: str) -> Iterator[str]:
    """`# noqa: S311 - seeded, for replay`; or the reason in a comment on the line above."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        has_code = re.search(r"ignore\[[\w, -]+\]|noqa: [A-Z]+\d", token.string)
        if has_code and lines[token.start[0] - 2].lstrip().startswith("# "):
            continue
        if BARE_NOQA.search(token.string) or BARE_TYPE_IGNORE.search(token.string):
            yield f"line {token.start[0]}: {token.string} lacks its code or its reason"


def broad_excepts_say_why(_name: str, text: str) -> Iterator[str]:
    """Catching everything is right only where one peer's task is isolated; say so beside it."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else "everything"
        beside = "".join(lines[node.lineno - 2 : node.lineno + 1])
        passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        is_broad = re.search(r"\b(Base)?Exception\b|everything", caught)
        if is_broad and not passes_on and "#" not in beside:
            yield f"line {node.lineno}: catches {caught} without a reason"


def money_is_whole(_name: str, text: str) -> Iterator[str]:
    """A float cannot hold every amount, and a cent appears or vanishes."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                pass
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                pass
            case _:
                continue
        if MONEY.search(name) and re.search(r"\bfloat\b", ast.unparse(annotation)):
            yield f"line {node.lineno}: {name} is a float"


# ------------------------------------------------------------------------------- rules for all text


def nothing_is_left_for_later(_name: str, text: str) -> Iterator[str]:
    """What is not done is an issue, not a comment."""
    for number, line in enumerate(text.splitlines(), 1):
        if LEFT_FOR_LATER.search(line):
            yield f"line {number}: {line.strip()}"


def belongs_to_every_machine(_name: str, text: str) -> Iterator[str]:
    """No path of one computer, no registry's address: pip and npm are told theirs by their user."""
    for number, line in enumerate(text.splitlines(), 1):
        if ELSEWHERE.search(line):
            yield f"line {number}: {line.strip()[:90]}"


def whitespace_is_clean(name: str, text: str) -> Iterator[str]:
    """One newline at the end, none of the invisible rest."""
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield "does not end with one newline"
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip() or ("\t" in line and not name.endswith("Makefile")):
            yield f"line {number}: stray whitespace"


def links_resolve(name: str, text: str) -> Iterator[str]:
    """A relative link in a document leads to a file, and its anchor to a heading."""
    if not name.endswith(".md"):
        return
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.exists():
            yield f"{target} does not exist"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            yield f"{target} has no such heading"


def anchors(text: str) -> set[str]:
    """The anchors that a Markdown file's headings make."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def named_tests_exist(name: str, text: str) -> Iterator[str]:
    """A promise names its test; the test must be there."""
    if not name.endswith(".md"):
        return
    for path, test in re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", text):
        source = text_of(path) if (ROOT / path).is_file() else None
        if source is None:
            yield f"{path} does not exist"
        elif test and not re.search(rf"\b(def|class) {test}\b", source):
            yield f"{path} has no {test}"


def named_commands_exist(name: str, text: str) -> Iterator[str]:
    """A document's `make …` is a target of the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if name.endswith(".md"):
        for target in re.findall(r"(?:`|^\s*)make ([a-z-]+)", text, re.MULTILINE):
            if target not in targets:
                yield f"make {target} does not exist"


PYTHON_RULES: list[Rule] = [
    module_is_one_idea,
    module_has_a_name,
    ignores_say_why,
    broad_excepts_say_why,
    money_is_whole,
]
TEXT_RULES: list[Rule] = [
    nothing_is_left_for_later,
    belongs_to_every_machine,
    whitespace_is_clean,
    links_resolve,
    named_tests_exist,
    named_commands_exist,
]


@pytest.mark.parametrize("rule", [*PYTHON_RULES, *TEXT_RULES], ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    complaints = [
        f"{name}: {complaint}"
        for name in files()
        if is_ours(name) and (name.endswith(".py") or rule in TEXT_RULES)
        if (text := text_of(name)) is not None
        for complaint in rule(name, text)
    ]
    assert not complaints, "\n".join([rule.__doc__ or "", *complaints])


# --------------------------------------------------------------------------- rules for single files


def test_json_and_toml_files_parse() -> None:
    for name in files():
        if name.endswith(".json"):
            json.loads((ROOT / name).read_text())
        elif name.endswith(".toml"):
            tomllib.loads((ROOT / name).read_text())


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:1] == ["[Unreleased]"]


def project() -> dict[str, Any]:
    """The `[project]` table."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def requirements() -> list[Requirement]:
    """Everything pyproject.toml asks for, extras included."""
    table = project()
    groups = [table["dependencies"], *table["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def test_the_version_is_told_once() -> None:
    import rowen

    assert rowen.__version__ == project()["version"]


def test_the_lock_satisfies_what_is_asked_for() -> None:
    """`make lock` after a change of pyproject.toml."""
    locked: dict[str, str] = {}
    for file in ("lock.txt", "dev.txt"):
        pins = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements" / file).read_text(), re.M)
        locked |= {canonicalize_name(name): version for name, version in pins}
    for requirement in requirements():
        if requirement.name != "rowen":
            assert locked.get(canonicalize_name(requirement.name), "0") in requirement.specifier


def test_what_is_imported_is_asked_for() -> None:
    """A package that is here only because another one needs it leaves without notice."""
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    distributions = packages_distributions()
    undeclared = {
        f"{name} imports {module}"
        for name in files()
        if name.endswith(".py") and name.startswith(("node/", "scheduler/", "tests/"))
        for module in re.findall(r"^\s*(?:import|from) ([a-z]\w*)", text_of(name) or "", re.M)
        if (owners := {canonicalize_name(owner) for owner in distributions.get(module, [])})
        if not owners & (declared | {"rowen"})
    }
    assert not undeclared, "\n".join(sorted(undeclared))


def test_npm_can_install_from_the_lock_on_every_platform() -> None:
    """`npm ci` refuses a lock file that lacks an optional package, even one for another system."""
    packages = json.loads((ROOT / "contracts" / "package-lock.json").read_text())["packages"]
    for name, entry in packages.items():
        for optional in entry.get("optionalDependencies", {}):
            assert f"node_modules/{optional}" in packages, f"{name} needs {optional}"


# ----------------------------------------------------------------------------- the rules themselves

BROKEN: list[tuple[Rule, str, str]] = [
    (module_is_one_idea, "a.py", "\n" * (MODULE_LINES_MAX + 1)),
    (module_is_one_idea, "a.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    (module_has_a_name, "node/rowen/utils.py", ""),
    (module_has_a_name, "node/rowen/manager/x.py", ""),
    (ignores_say_why, "a.py", "x = 1  # noqa\n"),
    (ignores_say_why, "a.py", "x = 1  # noqa: S311\n"),
    (ignores_say_why, "a.py", "x = 1  # type: ignore\n"),
    (ignores_say_why, "a.py", "x = 1  # type: ignore[misc]\n"),
    (broad_excepts_say_why, "a.py", "try:\n    x()\n\nexcept Exception:\n    pass\n"),
    (broad_excepts_say_why, "a.py", "try:\n    x()\n\nexcept:\n    pass\n"),
    (money_is_whole, "a.py", "def pay(amount: float): ...\n"),
    (money_is_whole, "a.py", "total: float | None = None\n"),
    (nothing_is_left_for_later, "a.sol", "// TODO: pay\n"),
    (belongs_to_every_machine, "a.md", "see /work/main\n"),
    (belongs_to_every_machine, "a.md", "https://pypi.org/x\n"),
    (whitespace_is_clean, "a.md", "a \n"),
    (whitespace_is_clean, "a.md", "a"),
    (links_resolve, "README.md", "[x](nowhere.md)\n"),
    (links_resolve, "README.md", "[x](#nowhere)\n"),
    (named_tests_exist, "a.md", "`tests/test_nothing.py`\n"),
    (named_tests_exist, "a.md", "`tests/test_tidy.py::test_nothing`\n"),
    (named_commands_exist, "a.md", "`make gold`\n"),
]


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_a_rule_complains_when_it_is_broken(rule: Rule, name: str, text: str) -> None:
    assert list(rule(name, text))


KEPT: list[tuple[Rule, str]] = [
    (ignores_say_why, "x = 1  # noqa: S311 - seeded\n"),
    (ignores_say_why, "x = 1  # type: ignore[misc]  # untyped library\n"),
    (broad_excepts_say_why, "try:\n    x()\nexcept Exception:  # one peer's task\n    pass\n"),
    (money_is_whole, "def pay(amount: int, total_s: float): ...\n"),
]


@pytest.mark.parametrize(("rule", "text"), KEPT)
def test_a_rule_is_content_when_it_is_kept(rule: Rule, text: str) -> None:
    assert not list(rule("a.py", text))
