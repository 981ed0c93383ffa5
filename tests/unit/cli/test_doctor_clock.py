"""What the newest block and an endpoint's clock say of ours."""

import pytest

from rowen.cli.doctor.machine import clock_finding

NOW_S = 1_700_000_000.0
LAG_S = 300


@pytest.mark.parametrize(
    ("block_s", "server_s", "code"),
    [
        (0, 0, None),
        (-299, 0, None),
        (-301, 0, "rpc-lagging"),
        (-301, None, "rpc-lagging"),
        (30, 0, None),
        (31, 0, "clock-skewed"),
        (31, None, "clock-skewed"),
        (0, 31, "clock-skewed"),
        (-301, -301, "clock-skewed"),
        (0, None, None),
    ],
)
def test_a_late_block_is_a_lagging_chain_unless_a_clock_says_otherwise(
    block_s: int, server_s: int | None, code: str | None
) -> None:
    server = None if server_s is None else NOW_S + server_s
    found = clock_finding(NOW_S, int(NOW_S) + block_s, server, lag_s_max=LAG_S)
    assert (found.code if found else None) == code
