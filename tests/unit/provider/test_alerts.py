"""When the owner is called, told again, and told that it is over."""

from hypothesis import given
from hypothesis import strategies as st

from rowen.provider.alerts import REMIND_MS, Reading, Watched, judge, raised

LIMIT = 100


def reading(level: int | None, **changes: object) -> Reading:
    known: dict[str, object] = {
        "name": "x", "severity": "warning", "level": level, "limit": LIMIT, "text": "so",
    }  # fmt: skip
    return Reading(**(known | changes))  # type: ignore[arg-type]  # a test's builder


def states(levels: list[int | None], step_ms: int = 1000, **changes: object) -> list[str]:
    """What is said at each level in turn; "" where nothing is."""
    memory: dict[str, Watched] = {}
    said: list[str] = []
    for number, level in enumerate(levels):
        memory, alerts = judge(memory, [reading(level, **changes)], number * step_ms)
        said.append(alerts[0].state if alerts else "")
    return said


def test_it_is_said_once_when_the_limit_is_reached_and_once_when_it_is_over() -> None:
    assert states([99, 100, 150, 100, 20, 10]) == ["", "raised", "", "", "cleared", ""]


def test_a_level_that_swings_about_its_limit_calls_once() -> None:
    """Hysteresis: below the limit is not over yet."""
    assert states([100, 99, 100, 81, 100, 80]) == ["raised", "", "", "", "", "cleared"]


def test_too_little_is_the_mirror_image() -> None:
    levels: list[int | None] = [126, 100, 99, 101, 124, 125, 100]
    said = states(levels, is_low_bad=True)
    assert said == ["", "raised", "", "", "", "cleared", "raised"]


def test_what_mends_itself_in_time_is_never_said() -> None:
    assert states([100, 100, 100, 0, 100], hold_s=3) == [""] * 5
    assert states([100, 100, 100, 100, 0], hold_s=3) == ["", "", "", "raised", "cleared"]


def test_what_cannot_be_measured_changes_nothing() -> None:
    """A chain that is away must neither raise nor end an alert about money on it."""
    assert states([100, None, None, 0]) == ["raised", "", "", "cleared"]
    assert states([None, None]) == ["", ""]


def test_what_goes_on_is_said_again_after_a_day() -> None:
    assert states([100] * 4, step_ms=REMIND_MS // 2) == ["raised", "", "again", ""]


def test_no_gas_at_all_is_too_little_even_where_gas_is_free() -> None:
    _, alerts = judge({}, [reading(0, limit=0, is_low_bad=True)], 0)
    assert [alert.state for alert in alerts] == ["raised"]


@given(st.lists(st.one_of(st.none(), st.integers(0, 200)), max_size=60), st.integers(0, 5))
def test_raised_and_cleared_take_turns_and_memory_knows_which(
    levels: list[int | None], hold_s: int
) -> None:
    memory: dict[str, Watched] = {}
    is_raised = False
    for number, level in enumerate(levels):
        memory, alerts = judge(memory, [reading(level, hold_s=hold_s)], number * 1000)
        assert len(alerts) <= 1
        for alert in alerts:
            assert alert.state == ("cleared" if is_raised else "raised")
            is_raised = not is_raised
            assert alert.since_ms <= number * 1000
        assert raised(memory) == (["x"] if is_raised else [])
