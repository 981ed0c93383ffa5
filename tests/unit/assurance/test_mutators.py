"""The changes that contracts are broken with."""

from collections import Counter
from pathlib import Path

from tools.assurance.mutants import SAMPLE, Choice, all_mutants
from tools.assurance.mutators import mutants_of
from tools.assurance.solidity import statements_of

CONTRACTS = Path(__file__).parents[3] / "contracts"


def changes(body: str, header: str = "function f(uint256 a, uint256 b) external") -> set[str]:
    """Every statement that a function's body can become, on one line each."""
    source = f"contract C {{ {header} {{ {body} }} }}"
    return {mutant.after for mutant in mutants_of("src/C.sol", source)}


def test_a_check_is_removed_and_its_comparison_shifted() -> None:
    assert changes("require(a <= b, TooMuch(a, b));") == {
        "(nothing)",
        "require(a < b, TooMuch(a, b));",
        "require(a <= b, TooMuch(b, a));",
    }


def test_an_equality_is_turned_round_and_a_connective_exchanged() -> None:
    assert changes("return a == b && !c;") == {
        "return a != b && !c;",
        "return a == b || !c;",
        "return a == b && c;",
    }


def test_an_event_is_removed_and_its_values_exchanged() -> None:
    assert changes("emit Paid(a, b);") == {"(nothing)", "emit Paid(b, a);"}


def test_an_effect_is_removed_and_its_arithmetic_exchanged() -> None:
    assert changes("total += a * 2;") == {
        "(nothing)",
        "total -= a * 2;",
        "total = a * 2;",
        "total += a / 2;",
        "total += a * 3;",
        "total += a * 0;",
    }


def test_a_declaration_is_not_removed_because_the_rest_would_not_compile() -> None:
    for declaration in ("uint96 c = f(a);", "Bond memory c = d[a];", "(address c,,) = f(a);"):
        assert "(nothing)" not in changes(declaration)
    assert "(nothing)" in changes("c = f(a);")
    assert "(nothing)" in changes("delete d[a];")
    assert "(nothing)" in changes("(c, d) = f(a);")


def test_a_condition_always_and_never_holds() -> None:
    assert changes("if (a) { g(); }") == {"if (true)", "if (false)", "(nothing)"}
    assert changes("if (a) g();") == {"if (true) g();", "if (false) g();"}


def test_the_branches_of_a_choice_change_places() -> None:
    assert "return a ? f ( a , 1 ) : b;" in changes("return a ? b : f(a, 1);")


def test_the_guard_the_sender_and_the_place_are_exchanged() -> None:
    assert "function f() external" in changes("", "function f() external nonReentrant")
    assert "g(tx.origin);" in changes("g(msg.sender);")
    assert "Bond memory c = d[a];" in changes("Bond storage c = d[a];")


def test_constants_outside_of_functions_change() -> None:
    source = (
        'library L { uint256 private constant A = 30 days; bytes32 constant B = keccak256("x y"); }'
    )
    assert {mutant.after for mutant in mutants_of("src/L.sol", source)} == {
        "uint256 private constant A = 31 days;",
        'bytes32 constant B = keccak256("x ");',
    }


def test_assembly_is_cut_into_its_instructions() -> None:
    body = """
        assembly ("memory-safe") {
            let free := mload(0x40)
            if iszero(gt(a, b)) {
                mstore(free, shr(96, a))
            }
        }"""
    assert changes(body) == {
        *("let free := mload(0x41)", "let free := mload(0)"),
        *("if iszero(iszero ( gt ( a , b ) ))", "if iszero(lt(a, b))"),
        *(
            "(nothing)",
            "mstore(free, shl(96, a))",
            "mstore(free, shr(97, a))",
            "mstore(free, shr(0, a))",
        ),
    }


def test_comments_strings_and_interfaces_are_left_alone() -> None:
    source = """
        interface I { function f(uint256 a) external; }
        contract C { function g() external { /* a < b; */ } }"""
    assert mutants_of("src/C.sol", source) == []
    assert [statement.kind for statement in statements_of(source)] == ["header"]


def test_a_mutant_keeps_its_name_when_something_else_changes() -> None:
    """Else every edit of a contract would void every explanation."""
    source = "contract C { function f() external { x = 1; require(a < b); } }"
    longer = source.replace("{ x", "{ y = 2; x").replace("C {", "C { uint256 z = 2;")
    names = {mutant.id for mutant in mutants_of("src/C.sol", source)}
    assert names < {mutant.id for mutant in mutants_of("src/C.sol", longer)}


def test_the_same_statement_twice_makes_two_mutants() -> None:
    mutants = mutants_of("src/C.sol", "contract C { function f() external { x = y; x = y; } }")
    assert len(mutants) == len({mutant.id for mutant in mutants}) == 2


def test_the_contracts_have_hundreds_of_mutants_of_every_kind_each_with_a_name_and_a_change() -> (
    None
):
    mutants = all_mutants(CONTRACTS)
    counts = Counter(mutant.operator for mutant in mutants)
    assert len(mutants) > 500
    assert len({mutant.id for mutant in mutants}) == len(mutants)
    assert counts.keys() >= {
        *("check removed", "event removed", "guard removed", "removal"),
        *("comparison", "logic", "arithmetic", "constant", "condition", "opcode", "swap"),
    }
    for mutant in mutants:
        source = (CONTRACTS / mutant.file).read_text()
        assert mutant.apply(source) != source
    assert {mutant.file for mutant in mutants} >= {"src/RowenEscrow.sol", "src/RowenStake.sol"}


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    mutants = all_mutants(CONTRACTS)
    first, label = Choice(seed=1).of(mutants)
    assert len(first) == SAMPLE
    assert label == "seed 1"
    assert first == Choice(seed=1).of(mutants)[0] != Choice(seed=2).of(mutants)[0]


def test_all_mutants_can_be_chosen_or_those_of_one_function() -> None:
    mutants = all_mutants(CONTRACTS)
    assert set(Choice(everything=True).of(mutants)[0]) == set(mutants)
    assert {mutant.scope for mutant in Choice(only="_slash").of(mutants)[0]} == {
        "RowenStake._slash"
    }
