"""The page that Prometheus reads, read back with Prometheus' own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rowen.metrics import Family, Kind, Sample, render

JOBS = Family("x_jobs_total", Kind.COUNTER, "Jobs, by how.", "outcome")
GAS = Family("x_gas_wei", Kind.GAUGE, 'Gas; with "quotes" and \\.')


def test_what_is_sampled_is_read_back() -> None:
    text = render([Sample(JOBS, 3, "stop"), Sample(GAS, 2**53), Sample(JOBS, 0, 'a"b\n')]).decode()
    found = {f.name: f for f in text_string_to_metric_families(text)}
    assert found["x_jobs"].type == "counter"
    read = [(s.name, s.labels, s.value) for s in found["x_jobs"].samples]
    assert read == [
        ("x_jobs_total", {"outcome": "stop"}, 3),
        ("x_jobs_total", {"outcome": 'a"b\n'}, 0),
    ]
    assert [s.value for s in found["x_gas_wei"].samples] == [2**53]
    assert found["x_gas_wei"].documentation == GAS.help
    assert {"process_resident_memory_bytes", "process_open_fds"} <= set(found)


def test_what_is_unknown_is_absent_and_not_zero() -> None:
    assert "x_gas_wei" not in render([Sample(JOBS, 1, "stop")]).decode()


@pytest.mark.parametrize(("name", "kind"), [("x", Kind.COUNTER), ("x_total", Kind.GAUGE)])
def test_a_counter_and_nothing_else_ends_in_total(name: str, kind: Kind) -> None:
    with pytest.raises(ValueError, match="ends in _total"):
        Family(name, kind, "")
