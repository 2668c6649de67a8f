"""The demo on a history as small as it goes, driven as a person drives it: by commands, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from dagster import AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance
from dagster._core.definitions.events import AssetMaterialization

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.orchestration.chain import RUNS
from ruter_dagster.orchestration.event_log import asset_of_step

T = TypeVar("T")
BIN = Path(__file__).parents[2] / ".venv" / "bin"
D = date(2026, 11, 20)
"""The demo's issue date."""
YESTERDAY = D - timedelta(1)
_NEWEST = {"counts": YESTERDAY, "plan": D, "forecasting": D, "sampling": YESTERDAY, "monitoring": YESTERDAY}
DATED = {asset: day for run, day in _NEWEST.items() for asset in RUNS[run]}
"""The newest date of the demo for each asset that has dates."""
UNDATED = RUNS["training"]


def environment(state: Path) -> dict[str, str]:
    return {
        "RUTER_ENVIRONMENT": "test",
        "RUTER_LAUNCHER": "local",
        "RUTER_STATE_DIR": str(state),
        "RUTER_HISTORY_DAYS": "49",
        "RUTER_EVALUATION_DAYS": "7",
        "RUTER_STEP_RETRIES": "1",
        "RUTER_STEP_RETRY_DELAY": "0",
    }


def start(*command: str, **variables: str) -> subprocess.Popen[str]:
    """A command of the project's environment, with the variables of this process and these; what it prints must be read."""
    return _start(command, subprocess.PIPE, variables)


def start_server(log: Path, *command: str) -> subprocess.Popen[str]:
    """A command that nobody reads while it runs: what it prints goes to a file, as a full pipe would hold it up for ever."""
    with log.open("a") as output:
        return _start(command, output.fileno(), {})


def _start(command: tuple[str, ...], output: int, variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        env={**os.environ, **variables},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*command: str, **variables: str) -> str:
    """Runs a command, which must succeed, and returns what it printed."""
    with start(*command, **variables) as process:
        printed, _ = process.communicate()
    assert process.returncode == 0, printed[-4000:]
    return printed


def materialize(*assets: str, day: date | None = None, last: date | None = None) -> tuple[str, ...]:
    """`dagster asset materialize` of assets: of a date, of the range from `day` to `last`, or of what has no dates."""
    when: tuple[str, ...] = ("--partition", str(day)) if day else ()
    if last:
        when = ("--partition-range", f"{day}...{last}")
    return (
        "dagster", "asset", "materialize", "-m", "ruter_dagster.definitions", "--select", ",".join(assets), *when,
    )  # fmt: skip


@dataclass(frozen=True)
class SmallDemo:
    """The demo's state, and what Dagster recorded of it."""

    instance: DagsterInstance
    first: dict[str, Any]
    """What the first `ruter-dagster demo --json` printed."""

    @property
    def settings(self) -> Settings:
        return load_settings(_env_file=None)

    def demo(self) -> dict[str, Any]:
        return demo()

    def newest(self, asset: str, day: date | None = None) -> tuple[str, AssetMaterialization]:
        """The newest materialisation of an asset, or of a date of it, and its run."""
        partitions = [day.isoformat()] if day else None
        wanted = AssetRecordsFilter(AssetKey.from_user_string(asset), asset_partitions=partitions)
        record = self.instance.fetch_materializations(wanted, limit=1).records[0]
        assert record.asset_materialization
        return record.run_id, record.asset_materialization

    def content(self, asset: str, *days: date) -> list[object]:
        return [self.newest(asset, day)[1].metadata["content_hash"].value for day in days]

    def last_run(self) -> str:
        return self.instance.get_runs(limit=1)[0].run_id

    def steps(self, run_id: str, kind: DagsterEventType = DagsterEventType.STEP_SUCCESS) -> list[str]:
        """Assets whose steps have an event of this kind, in order."""
        records = self.instance.get_records_for_run(run_id, of_type=kind).records
        return [asset_of_step(record.event_log_entry.step_key or "") for record in records]

    def job_ends(self, run_id: str) -> list[int]:
        """Exit code of each job of a run, in order."""
        messages = [entry.user_message for entry in self.instance.all_logs(run_id)]
        ended = [words.split() for words in messages if words.startswith("Job ") and " ended with " in words]
        return [int(words[4]) for words in ended]

    def jobs_alive(self) -> list[int]:
        """Processes of this demo's jobs, and those that they started."""
        return processes_with(f"RUTER_CONTAINER_BASE={self.settings.source_dir}/jobs/")


def demo(**variables: str) -> dict[str, Any]:
    """`ruter-dagster demo --json` with these variables too, which must succeed. `progress` is what it printed before its result."""
    with start("ruter-dagster", "demo", "--json", **variables) as process:
        printed, _ = process.communicate()
    assert process.returncode == 0, printed[-4000:]
    progress, result = printed.split("\n{", 1)
    return json.loads("{" + result) | {"progress": progress}


def processes_with(variable: str) -> list[int]:
    """Processes in whose environment these words stand."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in path.read_bytes():
                processes.append(int(path.parent.name))
        except OSError:
            continue  # it has ended, or is another user's
    return processes


def until(value_of: Callable[[], T], what: str, seconds: float = 300, every: float = 0.05) -> T:
    """Waits until there is something, and returns it."""
    deadline = time.monotonic() + seconds
    while not (value := value_of()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(every)
    return value
