"""Datagrams of DogStatsD, as DataDog's agent receives them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ruter_dagster.contracts.metrics import JOB_COST, RUN_SECONDS, SKILL, Measurement
from ruter_dagster.metrics.dogstatsd import send_datagrams
from tests.metrics.listeners import datagrams, tcp_agent, udp_agent

NOW = datetime(2026, 11, 20, 5, tzinfo=UTC)
MEASUREMENTS = [
    Measurement(RUN_SECONDS, 61.5, NOW),
    Measurement(JOB_COST, 0.25, NOW, "raw/stop_visits"),
    Measurement(SKILL, -0.125, NOW),
]


def test_each_measurement_is_one_datagram_with_tags() -> None:
    with udp_agent() as agent:
        send_datagrams(MEASUREMENTS, "rd-test", "127.0.0.1", agent.port)
    assert datagrams(agent) == [
        ("ruter_dagster.run_seconds", 61.5, "d", ("env:rd-test",)),
        ("ruter_dagster.job_cost", 0.25, "c", ("env:rd-test", "asset:raw/stop_visits")),
        ("ruter_dagster.skill", -0.125, "g", ("env:rd-test",)),
    ]


def test_value_that_is_not_finite_is_left_out() -> None:
    with udp_agent() as agent:
        send_datagrams([Measurement(SKILL, float("nan"), NOW)], "rd-test", "127.0.0.1", agent.port)
    assert agent.received == []


@pytest.mark.parametrize("host", ["127.0.0.1", "agent.invalid"], ids=["no listener", "unknown host"])
def test_missing_agent_is_no_error(host: str) -> None:
    with tcp_agent() as free:
        port = free.port
    send_datagrams(MEASUREMENTS, "rd-test", host, port)
