"""Documents of the embedded metric format, and their way to standard output or to an agent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ruter_dagster.contracts.metrics import (
    FRESHNESS,
    JOB_COST,
    METRICS,
    RUN_SECONDS,
    RUN_SUCCESSES,
    Measurement,
    Metric,
)
from ruter_dagster.metrics.emf import MAX_AGE, MAX_METRICS, emf_documents, write_documents
from tests.metrics.listeners import Value, emf_lines, tcp_agent, udp_agent, values

NOW = datetime(2026, 11, 20, 5, tzinfo=UTC)
RUN = [Measurement(RUN_SUCCESSES, 1, NOW), Measurement(RUN_SECONDS, 61.5, NOW)]
COST = Measurement(JOB_COST, 0.25, NOW, "raw/stop_visits")


def test_measurements_of_one_time_share_a_document() -> None:
    (document,) = emf_documents(RUN, "rd-test", NOW)
    assert document["_aws"]["Timestamp"] == NOW.timestamp() * 1000
    assert values([document]) == [
        Value("RunSuccesses", "Environment=rd-test", 1),
        Value("RunSeconds", "Environment=rd-test", 61.5),
    ]


def test_cost_has_both_sets_of_dimensions() -> None:
    documents = emf_documents([COST], "rd-test", NOW)
    assert values(documents) == [
        Value("JobCost", "Environment=rd-test", 0.25),
        Value("JobCost", "Environment=rd-test,Asset=raw/stop_visits", 0.25),
    ]


def test_repeated_metric_starts_another_document() -> None:
    documents = emf_documents([*RUN, *RUN], "rd-test", NOW)
    assert len(documents) == 2
    assert sum(value.value for value in values(documents) if value.name == "RunSuccesses") == 2


def test_document_has_at_most_one_hundred_metrics() -> None:
    many = [
        Measurement(Metric(f"M{number}", "Count", "Sum", "count", "job", ""), number, NOW)
        for number in range(MAX_METRICS + 1)
    ]
    documents = emf_documents(many, "rd-test", NOW)
    assert [len(document["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for document in documents] == [100, 1]
    assert len(values(documents)) == MAX_METRICS + 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_value_that_is_not_finite_is_left_out(value: float) -> None:
    assert emf_documents([Measurement(RUN_SECONDS, value, NOW)], "rd-test", NOW) == []


def test_value_that_cloudwatch_would_drop_is_left_out() -> None:
    old = Measurement(RUN_SECONDS, 1, NOW - MAX_AGE - timedelta(seconds=1))
    assert values(emf_documents([old, *RUN], "rd-test", NOW)) == values(emf_documents(RUN, "rd-test", NOW))


def test_every_metric_makes_a_valid_document(capfd: pytest.CaptureFixture[str]) -> None:
    everything = [Measurement(m, 1, NOW, "raw/stop_visits" if m.has_asset else None) for m in METRICS]
    write_documents(emf_documents(everything, "rd-test", NOW))
    lines = capfd.readouterr().out.encode().splitlines()
    assert {value.name for value in values(emf_lines(lines))} == {metric.name for metric in METRICS}
    assert max(map(len, lines)) < 4096, "a pipe keeps such a line whole among those of other threads"


def test_tcp_agent_receives_one_line_for_each_document() -> None:
    with tcp_agent() as agent:
        write_documents(emf_documents([*RUN, COST], "rd-test", NOW), f"tcp://127.0.0.1:{agent.port}")
        assert emf_lines(agent.lines) == emf_documents([*RUN, COST], "rd-test", NOW)
        assert len(agent.received) == 1, "one connection"


def test_udp_agent_receives_one_datagram_for_each_document() -> None:
    with udp_agent() as agent:
        write_documents(emf_documents([*RUN, COST], "rd-test", NOW), f"udp://127.0.0.1:{agent.port}")
    assert emf_lines(agent.received) == emf_documents([*RUN, COST], "rd-test", NOW)


def test_agent_that_does_not_listen_is_an_error() -> None:
    with tcp_agent() as agent:
        pass
    with pytest.raises(OSError, match="refused"):
        write_documents(emf_documents(RUN, "rd-test", NOW), f"tcp://127.0.0.1:{agent.port}")


def test_agent_that_dies_while_it_reads_is_an_error() -> None:
    """Its kernel takes all bytes, so that only the missing end of the connection shows it."""
    with tcp_agent() as agent:
        agent.refuses_after = 0
        with pytest.raises(OSError, match=r"reset|pipe|not connected"):
            write_documents(emf_documents(RUN, "rd-test", NOW), f"tcp://127.0.0.1:{agent.port}")


def test_asset_is_in_no_document_of_the_environment() -> None:
    documents = emf_documents([*RUN, Measurement(FRESHNESS, 5, NOW, "raw/stop_visits")], "rd-test", NOW)
    assert ["Asset" in document for document in documents] == [False, True]
