"""The last lines that a failed step printed: those of the job, from a real run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dagster import DagsterInstance, asset, materialize
from dagster._core.instance.ref import InstanceRef

from ruter_dagster.orchestration.run_output import MAX_CHARACTERS, MAX_LINES, last_log_lines, own_lines


@asset(key=["loads", "stop_loads"])
def prints_and_fails() -> None:
    for number in range(100):
        print(f"12:00:00 INFO line {number}")
    print("12:00:01 ERROR No room on the disk")
    sys.stdout.flush()
    raise ValueError("No room on the disk")


@asset(key=["loads", "silent"])
def fails_silently() -> None:
    raise ValueError("No room on the disk")


@pytest.fixture
def logging_instance(empty_instance: Path, tmp_path: Path):
    """An instance that captures what steps print."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        yield instance


def test_lines_of_failed_job_end_with_its_error(logging_instance: DagsterInstance) -> None:
    result = materialize([prints_and_fails], instance=logging_instance, raise_on_error=False)
    lines = last_log_lines(logging_instance, result.run_id, "loads/stop_loads").splitlines()
    assert lines[-2:] == ["12:00:00 INFO line 99", "12:00:01 ERROR No room on the disk"]
    assert len(lines) == MAX_LINES


def test_silent_step_has_no_lines(logging_instance: DagsterInstance) -> None:
    result = materialize([fails_silently], instance=logging_instance, raise_on_error=False)
    assert last_log_lines(logging_instance, result.run_id, "loads/silent") == ""


def test_unreadable_log_is_reported_instead_of_raised(
    logging_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = materialize([prints_and_fails], instance=logging_instance, raise_on_error=False)

    def refuse(**_: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(logging_instance.compute_log_manager, "get_log_data_for_type", refuse)
    assert (
        last_log_lines(logging_instance, result.run_id, "loads/stop_loads")
        == "(The log cannot be read: ConnectionError)"
    )


def test_metrics_of_the_job_are_left_out() -> None:
    metrics = '{"_aws": {"Timestamp": 1}, "Environment": "rd-test", "JobFailures": 1}'
    assert own_lines(f"12:00:01 ERROR No room\n{metrics}\n") == ["12:00:01 ERROR No room"]


def test_lines_of_dagster_and_colours_are_left_out() -> None:
    output = (
        "2026-11-30 16:31:21 +0000 - dagster - DEBUG - counts - 1 - STEP_START - Started\n"
        "\x1b[31m12:00:01 ERROR No room\x1b[0m  \n\n"
        "2026-11-30 16:31:22 +0000 - dagster - ERROR - counts - 1 - STEP_FAILURE - failed\n"
        "Stack Trace:\n"
    )
    assert own_lines(output) == ["12:00:01 ERROR No room"]
    assert MAX_CHARACTERS < 3000, "Slack's limit of a section"
