"""The last lines that a failed step printed."""

from __future__ import annotations

import re

from dagster import DagsterEventType, DagsterInstance

from ruter_dagster.compat.storage import ComputeIOType
from ruter_dagster.orchestration.event_log import asset_of_step

MAX_LINES = 15
MAX_CHARACTERS = 2000
_READ_BYTES = 1 << 20
MAX_READS = 16
"""Most megabytes that are read. The end of a longer output is not shown."""
_DAGSTER_LINE = re.compile(r" - dagster - (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) - ")
_METRIC_LINE = re.compile(r"^\s*\{\s*\"_aws\"\s*:")
"""A line of metrics in CloudWatch's embedded metric format."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def last_log_lines(instance: DagsterInstance, run_id: str, asset: str | None) -> str:
    """The last lines that the failed step of an asset printed, without Dagster's own. Empty if there are none.

    An error of the log storage gives no lines: an alert without a log is better than none.
    """
    try:
        for key in reversed(_log_keys(instance, run_id, asset)):
            # Jobs log to standard output, Dagster to standard error.
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR):
                if lines := own_lines(_tail(instance, key, kind)):
                    return "\n".join(lines[-MAX_LINES:])[-MAX_CHARACTERS:]
    except Exception as error:
        return f"(The log cannot be read: {type(error).__name__})"
    return ""


def own_lines(output: str) -> list[str]:
    """The lines of the job: those before Dagster reports the failure, without other lines of Dagster and lines of metrics."""
    lines = [line.rstrip() for line in _COLOURS.sub("", output).splitlines()]
    failures = [number for number, line in enumerate(lines) if " - dagster - ERROR - " in line]
    lines = lines[: failures[0]] if failures else lines
    return [
        line for line in lines if line and not _DAGSTER_LINE.search(line) and not _METRIC_LINE.match(line)
    ]


def _log_keys(instance: DagsterInstance, run_id: str, asset: str | None) -> list[list[str]]:
    """Keys of the captured output of the asset's step, or of the run if no step failed."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.LOGS_CAPTURED).records
    keys = []
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        data = event.logs_captured_data
        steps = [asset_of_step(step) for step in data.step_keys or ()]
        if asset is None or asset in steps:
            keys.append(list(instance.compute_log_manager.build_log_key_for_run(run_id, data.file_key)))
    return keys


def _tail(instance: DagsterInstance, key: list[str], kind: ComputeIOType) -> str:
    """The end of the output."""
    text, offset = b"", 0
    for _ in range(MAX_READS):
        part, offset = instance.compute_log_manager.get_log_data_for_type(
            log_key=key, io_type=kind, offset=offset, max_bytes=_READ_BYTES
        )
        if not part:
            break
        text = (text + part)[-(1 << 17) :]
    return text.decode(errors="replace")
