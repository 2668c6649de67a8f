"""Metrics that a job process sends: EMF lines in its output, datagrams, and no failure if an agent is missing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from ruter_dagster.contracts.jobs import EXIT_PERMANENT, Balance, Snapshot
from ruter_dagster.contracts.metrics import METRICS
from ruter_dagster.contracts.tables import WEATHER_FORECASTS
from tests.jobs import job_process
from tests.metrics.listeners import datagrams, emf_lines, sums, tcp_agent, udp_agent

DAY = date(2026, 11, 20)
WEATHER = Snapshot(table=WEATHER_FORECASTS.name, dates=(DAY,))
FAILING = Balance(dates=(DAY,))
ENVIRONMENT = {"RUTER_METRICS_ENVIRONMENT": "rd-test"}


def test_successful_job_prints_what_it_used(tmp_path: Path) -> None:
    exit_code, printed = job_process.run(WEATHER, tmp_path, **ENVIRONMENT)
    assert exit_code == 0, printed
    documents = emf_lines(printed.encode().splitlines())
    used = sums(documents, "Environment=rd-test,Asset=raw/weather_forecasts")
    assert used.keys() == {"JobSeconds", "JobCpuSeconds", "JobMemory"}
    assert used["JobMemory"] > 10 and used["JobCpuSeconds"] > 0
    assert sums(documents, "Environment=rd-test") == {}


def test_failed_job_counts_its_failure(tmp_path: Path) -> None:
    exit_code, printed = job_process.run(FAILING, tmp_path, **ENVIRONMENT)
    assert exit_code == EXIT_PERMANENT
    assert sums(emf_lines(printed.encode().splitlines()), "Environment=rd-test") == {"JobFailures": 1}


def test_job_without_settings_prints_no_metric(tmp_path: Path) -> None:
    _, printed = job_process.run(WEATHER, tmp_path)
    assert emf_lines(printed.encode().splitlines()) == []


def test_job_sends_datagrams_and_uses_the_agent(tmp_path: Path) -> None:
    with tcp_agent() as emf, udp_agent() as statsd:
        variables = {
            "RUTER_EMF_ENDPOINT": f"tcp://127.0.0.1:{emf.port}",
            "RUTER_STATSD_HOST": "127.0.0.1",
            "RUTER_STATSD_PORT": str(statsd.port),
        }
        exit_code, printed = job_process.run(WEATHER, tmp_path, **ENVIRONMENT, **variables)
    assert exit_code == 0, printed
    tags = ("env:rd-test", "asset:raw/weather_forecasts")
    names = [name for name, _, kind, own in datagrams(statsd) if own == tags and kind == "d"]
    assert names == ["ruter_dagster.job_seconds", "ruter_dagster.job_cpu_seconds", "ruter_dagster.job_memory"]
    assert "JobSeconds" in sums(emf_lines(emf.lines), "Environment=rd-test,Asset=raw/weather_forecasts")
    assert emf_lines(printed.encode().splitlines()) == []


def test_missing_agents_fail_no_job(tmp_path: Path) -> None:
    with tcp_agent() as agent:
        port = agent.port
    variables = {
        "RUTER_EMF_ENDPOINT": f"tcp://127.0.0.1:{port}",
        "RUTER_STATSD_HOST": "agent.invalid",
    }
    exit_code, printed = job_process.run(WEATHER, tmp_path, **ENVIRONMENT, **variables)
    assert exit_code == 0, printed
    assert "Metrics of the job were not sent" in printed


def test_every_declared_metric_of_jobs_is_sent(tmp_path: Path) -> None:
    _, printed = job_process.run(WEATHER, tmp_path, **ENVIRONMENT)
    _, failure = job_process.run(FAILING, tmp_path, **ENVIRONMENT)
    documents = emf_lines((printed + failure).encode().splitlines())
    names = {m["Name"] for d in documents for part in d["_aws"]["CloudWatchMetrics"] for m in part["Metrics"]}
    assert names == {metric.name for metric in METRICS if metric.sender == "job"}
