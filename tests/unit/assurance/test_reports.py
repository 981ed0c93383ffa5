"""What fails `make contracts-long`: each tool's verdict on what its program said."""

from pathlib import Path
from typing import Any

import pytest
from tools.assurance import analysis, coverage, fuzzing, mutants, proofs
from tools.assurance.__main__ import carry_out, parse
from tools.assurance.mutators import Mutant, mutants_of
from tools.assurance.reporting import AssuranceFailed, Report
from tools.assurance.workshop import Outcome, Verdict

CONTRACTS = Path(__file__).parents[3] / "contracts"
SOURCE = "contract C { function f() external { " + "".join(f"x = a{n};" for n in range(20)) + "} }"
MUTANTS = mutants_of("src/C.sol", SOURCE)


# ---- mutants


def outcomes(alive: list[Mutant]) -> list[Outcome]:
    return [
        Outcome(mutant, Verdict.SURVIVED if mutant in alive else Verdict.KILLED)
        for mutant in MUTANTS
    ]


def test_a_survivor_that_nobody_explained_fails_and_is_shown() -> None:
    report = mutants.report_on(outcomes(MUTANTS[:1]), {}, len(MUTANTS), "seed 1")
    assert len(report.faults) == 1
    assert "x = a0;  ⟶  (nothing)" in report.faults[0]
    assert "all 20: 19 killed, 1 survived" in report.figures
    assert "95.0% killed" in report.figures


def test_an_explained_survivor_is_well_and_too_many_are_not() -> None:
    few, many = MUTANTS[:2], MUTANTS[:3]
    assert not mutants.report_on(outcomes(few), {m.id: "so" for m in few}, 20, "seed 1").faults
    (fault,) = mutants.report_on(outcomes(many), {m.id: "so" for m in many}, 20, "seed 1").faults
    assert "85.0% of the mutants were killed" in fault


def test_an_explanation_of_the_dead_or_of_nothing_fails() -> None:
    known = {MUTANTS[0].id: "so", "gone": "so"}
    faults = mutants.report_on(outcomes([]), known, 20, "seed 1").faults
    assert [fault.split(", ")[1] for fault in faults] == ["which is killed", "which is not there"]


def test_a_sample_says_nothing_about_what_was_not_drawn() -> None:
    report = mutants.report_on(outcomes([])[:10], {"elsewhere": "so"}, 20, "seed 7")
    assert not report.faults
    assert "10 of 20 (seed 7): 10 killed" in report.figures


def test_what_does_not_compile_or_means_the_same_counts_for_nothing() -> None:
    ended = [Outcome(MUTANTS[0], Verdict.KILLED), Outcome(MUTANTS[1], Verdict.EQUIVALENT)]
    ended.append(Outcome(MUTANTS[2], Verdict.STILLBORN))
    report = mutants.report_on(ended, {}, 3, "seed 1")
    assert "1 equivalent, 1 did not compile; 100.0% killed" in report.figures


def test_every_survivor_has_one_reason(tmp_path: Path) -> None:
    file = tmp_path / "survivors.toml"
    file.write_text('[[survivor]]\nid = "a"\nwhy = "so"\n')
    assert mutants.explanations(file) == {"a": "so"}
    file.write_text('[[survivor]]\nid = "a"\nwhy = " "\n')
    with pytest.raises(AssuranceFailed, match="a reason is missing"):
        mutants.explanations(file)
    file.write_text('[[survivor]]\nid = "a"\nwhy = "so"\n' * 2)
    with pytest.raises(AssuranceFailed, match="twice"):
        mutants.explanations(file)
    mutants.explanations(CONTRACTS / "assurance" / "survivors.toml")


# ---- coverage

OURS = "SF:src/C.sol\nDA:4,7\nFN:4,C.f\nFNDA:7,C.f\nBRDA:5,0,0,3\nBRDA:5,0,1,4\nend_of_record\n"
UNTESTED = "SF:src/Planted.sol\nDA:8,0\nFNDA:0,Planted.end\nBRDA:9,0,0,-\nend_of_record\n"


def covered(tracefile: str) -> Report:
    return coverage.report_on(coverage.reached_in(tracefile))


def test_contracts_that_are_wholly_reached_are_well() -> None:
    report = covered(OURS + UNTESTED)
    assert not report.faults
    assert report.figures.startswith("1 of 1 lines, 2 of 2 branches, 1 of 1 functions of src")


@pytest.mark.parametrize(
    ("reached", "missed", "fault"),
    [
        ("DA:4,7", "DA:4,0", "of the lines: src/C.sol:4"),
        ("BRDA:5,0,1,4", "BRDA:5,0,1,0", "of the branches: src/C.sol:5"),
        ("BRDA:5,0,1,4", "BRDA:5,0,1,-", "of the branches: src/C.sol:5"),
        ("FNDA:7,C.f", "FNDA:0,C.f", "of the functions: src/C.sol: C.f"),
    ],
)
def test_anything_below_all_fails_and_says_where(reached: str, missed: str, fault: str) -> None:
    # A line that is there beside, so that the kind is known.
    report = covered(OURS.replace(reached, f"{reached}\n{missed}") + UNTESTED)
    assert report.faults == (f"no unit test reaches, {fault}",)


@pytest.mark.parametrize("seen", ["", UNTESTED.replace(",0\n", ",1\n")])
def test_a_count_that_does_not_see_the_untested_contract_is_not_believed(seen: str) -> None:
    faults = covered(OURS + seen).faults
    assert "forge coverage does not see that no test reaches the planted lines" in faults


def test_a_count_without_branches_is_not_believed() -> None:
    none = "\n".join(line for line in OURS.splitlines() if not line.startswith("BRDA"))
    assert covered(f"{none}\n{UNTESTED}").faults == ("forge coverage knows of no branches in src/",)


# ---- slither


def element(kind: str, name: str, parent: dict[str, Any] | None = None) -> dict[str, Any]:
    fields = {"parent": parent} if parent else {}
    return {"type": kind, "name": name, "type_specific_fields": fields}


def answer(*checks: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    entries = [{"check": c, "elements": [e], "description": f"{c}\nhere"} for c, e in checks]
    return {"results": {"detectors": entries}}


PLANTED = [
    analysis.Finding(check, f"{analysis.PLANTED}.f") for check in sorted(analysis.PLANTED_CHECKS)
]


def test_a_finding_is_placed_at_its_function_or_its_state_variable() -> None:
    contract = element("contract", "C")
    function = element("function", "f", contract)
    found = analysis.findings_in(
        answer(
            ("a", function),
            ("b", element("node", "x == y", function)),
            ("c", element("variable", "local", function)),
            ("d", element("variable", "channels", contract)),
            ("e", contract),
        )
    )
    assert [finding.where for finding in found] == ["C.f", "C.f", "C.f", "C.channels", "C"]
    assert found[0].text == "a here"
    assert analysis.findings_in({"results": {}}) == []


def test_a_finding_is_argued_or_fails() -> None:
    finding = analysis.Finding("suicidal", "RowenEscrow.end", "ends")
    (fault,) = analysis.report_on([*PLANTED, finding], set()).faults
    assert fault == "suicidal in RowenEscrow.end: ends"
    assert not analysis.report_on([*PLANTED, finding], {("suicidal", "RowenEscrow.end")}).faults
    assert analysis.report_on([*PLANTED, finding], {("suicidal", "RowenStake.end")}).faults


def test_an_argument_about_nothing_fails() -> None:
    (fault,) = analysis.report_on(PLANTED, {("timestamp", "RowenEscrow.lock")}).faults
    assert "which Slither does not find" in fault


def test_a_slither_that_misses_what_was_planted_fails() -> None:
    report = analysis.report_on(PLANTED[1:], set())
    assert report.faults == (f"Slither did not find the planted {PLANTED[0].check}",)
    assert "4 of 5 planted bugs found" in report.figures


def test_every_exception_is_argued(tmp_path: Path) -> None:
    file = tmp_path / "exceptions.toml"
    file.write_text('[[exception]]\ncheck = "a"\nwhere = ["C.f", "C.g"]\nwhy = "so"\n')
    assert analysis.exceptions_in(file) == {("a", "C.f"), ("a", "C.g")}
    file.write_text('[[exception]]\ncheck = "a"\nwhere = ["C.f"]\nwhy = ""\n')
    with pytest.raises(AssuranceFailed, match="no reason"):
        analysis.exceptions_in(file)
    assert analysis.exceptions_in(CONTRACTS / "assurance" / "exceptions.toml")


# ---- halmos

NOTICED = {bug.proof: proofs.DISPROVED for bug in proofs.PLANTS}


def test_proofs_that_hold_and_fail_where_they_should_are_well() -> None:
    report = proofs.report_on({"check_a": proofs.PROVED}, {"check_a"}, NOTICED)
    assert not report.faults
    assert report.figures.startswith("1 of 1 proofs hold")


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ({"check_a": proofs.DISPROVED}, "check_a does not hold"),
        ({"check_a": 2}, "check_a has no answer"),
        ({}, "check_a did not run"),
    ],
)
def test_a_proof_that_fails_or_has_no_answer_or_did_not_run_fails(
    ends: dict[str, int], told: str
) -> None:
    (fault,) = proofs.report_on(ends, {"check_a"}, NOTICED).faults
    assert fault.startswith(told)


@pytest.mark.parametrize("end", [proofs.PROVED, 2])
def test_a_proof_that_holds_of_a_broken_contract_fails(end: int) -> None:
    first = proofs.PLANTS[0]
    report = proofs.report_on({"check_a": 0}, {"check_a"}, NOTICED | {first.proof: end})
    assert report.faults == (f"{first.proof} holds of a contract without {first.what}",)


def test_the_named_promises_have_planted_bugs_and_every_plant_has_its_proof() -> None:
    written = proofs.proofs_in(CONTRACTS / "assurance" / "proofs")
    assert {bug.proof for bug in proofs.PLANTS} <= written
    promises = {"solvency", "monotonic claimed", "channel isolation"}
    assert promises <= {bug.what for bug in proofs.PLANTS}


# ---- forge, and all together

FORGE = """
[PASS] test_a() (gas: 1)
[PASS] testFuzz_b(uint256) (runs: 100000, μ: 1, ~: 1)
[PASS] testFuzz_c(uint256) (runs: 100001, μ: 1, ~: 1)
[PASS] invariant_d() (runs: 512, calls: 131072, reverts: 0)
Ran 3 test suites in 1s (1s CPU time): 4 tests passed, 0 failed, 0 skipped (4 total tests)
"""


def test_the_figures_of_forge_are_the_least_that_every_test_did() -> None:
    figures = fuzzing.figures_in(FORGE)
    assert figures.startswith("4 tests passed, 0 failed; 2 of them with 100,000 inputs")
    assert figures.endswith("1 campaigns of 131,072 calls or more")
    assert fuzzing.figures_in("nothing").startswith("0 tests passed, ? failed")


def test_a_tool_prints_its_line_and_what_is_wrong_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out("tool", lambda: Report("3 things")) == 0
    assert carry_out("tool", lambda: Report("3 things", ("one is bad",))) == 1

    def broken() -> Report:
        raise AssuranceFailed("no forge")

    assert carry_out("tool", broken) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tool     ok      3 things · 0 min")
    assert lines[1].startswith("tool     FAILED  3 things")
    assert lines[2] == "  one is bad"
    assert lines[4] == "  no forge"


def test_one_tool_can_run_alone_and_an_unknown_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert parse(["halmos"]).tools == ["halmos"]
    assert parse([]).tools == []
    with pytest.raises(SystemExit):
        parse(["mythril"])
    assert "no tool is called mythril" in capsys.readouterr().err


def test_without_workers_no_mutant_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["mutants", "--workers", "0"])
    assert "at least 1 must work" in capsys.readouterr().err
