"""A whole Dagster, UI, daemon, code server and run workers as processes of their own, with jobs on the double of SageMaker.

Killed, cancelled and started again as a deployment is. Its jobs are those of `dates_container.py`, its asset is
`raw/weather_forecasts`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

from dagster import (
    AssetKey,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
)
from dagster._daemon.auto_run_reexecution.event_log_consumer import _create_cursor_key
from dagster_graphql import DagsterGraphQLClient

from dagster_sagemaker_tests.faults.conftest import printed
from ruter_dagster.publishing.broker import _free_port
from sagemaker_double.control import Remote
from tests.chain.small_demo import processes_with, start_server, until
from tests.faults.dates_jobs import ASSET, POOL, REPOSITORY, DatesJobs

T = TypeVar("T")
FIRST = date(2026, 6, 1)
PLACE = {"repository_location_name": "ruter_dagster", "repository_name": "__repository__"}
BACKFILL = (
    "mutation ($p: LaunchBackfillParams!) "
    "{ launchPartitionBackfill(backfillParams: $p) { __typename ... on LaunchBackfillSuccess { backfillId } } }"
)
ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


@dataclass
class Deployment:
    """`folder` holds all of its state. Times of jobs are set by `jobs_take`. `launch` runs `asset` by `job`."""

    folder: Path
    double: Remote
    job: str = "weather"
    asset: str = ASSET
    port: int = 0
    process: Any = None
    work: Any = None

    def prepare(self) -> dict[str, str]:
        """Lays files and variables out; the variables are for this process as well."""
        home = self.folder / "home"
        home.mkdir()
        configuration = (REPOSITORY / "dagster.yaml").read_text()
        # As the project's own, but for how often the daemon looks after runs.
        for slow, fast in (
            (r"(poll_interval_seconds): \d+", r"\1: 1"),
            ("state/dagster", str(home / "storage")),
        ):
            configuration = re.sub(slow, fast, configuration)
        (home / "dagster.yaml").write_text(configuration)
        self.work = DatesJobs(self.folder)
        return {"DAGSTER_HOME": str(home), **self.work.variables()}

    def jobs_take(self, seconds: float) -> None:
        self.work.do(seconds)

    # The deployment

    def up(self) -> None:
        """Started, and answering, at a port that is free now: another process may have taken the former one meanwhile."""
        self.port = _free_port()
        log = self.folder / "dagster.log"
        self.process = start_server(log, "ruter-dagster", "dev", "--port", str(self.port))
        until(lambda: self.process.poll() is not None or self._answers(), "Dagster")
        assert self.process.poll() is None, log.read_text()[-8000:]

    def kill(self) -> None:
        """Every process of it at once, run workers and steps too; SageMaker's jobs are elsewhere, and run on."""
        marker = f"DAGSTER_HOME={self.folder / 'home'}"
        while alive := processes_with(marker):
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()

    @contextmanager
    def failures_passed_over(self) -> Iterator[None]:
        """Of failures meanwhile Dagster's daemon takes no note, as one does that looks at the wrong moment. It must not run at first."""
        key = _create_cursor_key(DagsterEventType.RUN_FAILURE)
        with DagsterInstance.get() as instance:
            cursors = instance.daemon_cursor_storage
            cursors.set_cursor_values({key: str(10**6)})
            yield
            # The daemon writes back what it read before: until that is over.
            while int(cursors.get_cursor_values({key})[key]) == 10**6:
                newest = instance.event_log_storage.get_maximum_record_id()
                cursors.set_cursor_values({key: str(newest)})
                time.sleep(6)

    def until(self, found: Callable[[], T], what: str, seconds: float = 300, every: float = 0.05) -> T:
        """Waits until there is something, and returns it; what Dagster printed last is told otherwise."""
        try:
            return until(found, what, seconds, every)
        except AssertionError as error:
            printed = (self.folder / "dagster.log").read_text()[-8000:]
            raise AssertionError(f"{error}; Dagster printed {printed}") from error

    def _answers(self) -> bool:
        with suppress(URLError, OSError, ValueError, KeyError):
            found = self._ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
            return bool(found["repositoriesOrError"]["nodes"])
        return False

    def _ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    # Runs

    def launch(self, day: date = FIRST, days: int = 1) -> str:
        """A run of the asset over dates, as the UI launches it; its id."""
        last = day + timedelta(days - 1)
        tags = (
            {"dagster/partition": day.isoformat()}
            if days == 1
            else {
                "dagster/asset_partition_range_start": day.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            }
        )
        client = DagsterGraphQLClient("127.0.0.1", port_number=self.port)
        return client.submit_job_execution(
            self.job, tags=tags, asset_selection=[self.asset.split("/")], **PLACE
        )

    def backfill(self, days: list[date]) -> str:
        """A backfill of the asset, as the UI launches it; its id."""
        parameters = {
            "assetSelection": [{"path": self.asset.split("/")}],
            "partitionNames": [day.isoformat() for day in days],
        }
        answer = self._ask(BACKFILL, p=parameters)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return answer["backfillId"]

    def runs_of_backfill(self, backfill_id: str, count: int, seconds: float) -> list[DagsterRun]:
        """Its runs, once there are so many and all have ended."""
        wanted = RunsFilter(tags={"dagster/backfill": backfill_id})

        def ended() -> list[DagsterRun]:
            with DagsterInstance.get() as instance:
                runs = list(instance.get_runs(wanted))
            return runs if len(runs) >= count and {run.status for run in runs} <= {*ENDED} else []

        return self.until(ended, f"backfill {backfill_id}", seconds, every=1.0)

    def terminate(self, run_id: str) -> None:
        DagsterGraphQLClient("127.0.0.1", port_number=self.port).terminate_run(run_id)

    def run(self, run_id: str) -> DagsterRun:
        with DagsterInstance.get() as instance:
            found = instance.get_run_by_id(run_id)
        assert found
        return found

    def wait_for(self, run_id: str, *states: DagsterRunStatus) -> DagsterRun:
        """The run, once it has ended (or is in one of these states)."""
        wanted = states or ENDED
        return self.until(
            lambda: run if (run := self.run(run_id)).status in wanted else None, f"run {run_id}"
        )

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Meanwhile no run leaves the queue: their pool has no place."""
        with DagsterInstance.get() as instance:
            instance.event_log_storage.set_concurrency_slots(POOL, 0)
            try:
                yield
            finally:
                # As by default: a pool without any limit has none until its next run has been launched.
                instance.event_log_storage.set_concurrency_slots(POOL, 1)

    def wait_for_retry(self, run_id: str, *states: DagsterRunStatus) -> DagsterRun:
        """The run that Dagster itself launches in place of a lost one, once it has ended (or is in one of these states)."""
        wanted = states or ENDED

        def child() -> DagsterRun | None:
            with DagsterInstance.get() as instance:
                found = [run for run in instance.get_runs() if run.parent_run_id == run_id]
            return found[0] if found and found[0].status in wanted else None

        return self.until(child, f"the run in place of {run_id}")

    def worker(self, run_id: str) -> int:
        """Process of the run's worker, as the run's log tells it."""
        found = re.search(r"Started process for run \(pid: (\d+)\)", self.log(run_id))
        assert found, self.log(run_id)
        return int(found[1])

    def step(self, run_id: str) -> int:
        """Process of the run's step."""
        with DagsterInstance.get() as instance:
            (started,) = instance.all_logs(run_id, of_type=DagsterEventType.STEP_START)
        assert started.dagster_event and started.dagster_event.pid
        return started.dagster_event.pid

    def log(self, run_id: str) -> str:
        with DagsterInstance.get() as instance:
            entries = instance.all_logs(run_id)
        return "\n".join(
            (entry.dagster_event and entry.dagster_event.message) or entry.user_message for entry in entries
        )

    def printed(self, run_id: str) -> str:
        with DagsterInstance.get() as instance:
            return printed(instance, run_id)

    def materialisations(self, day: date = FIRST) -> list[dict[str, Any]]:
        """Metadata of each time that Dagster was told of the date."""
        wanted = AssetRecordsFilter(AssetKey.from_user_string(self.asset), asset_partitions=[day.isoformat()])
        with DagsterInstance.get() as instance:
            records = instance.fetch_materializations(wanted, limit=100).records
        materialisations = [record.asset_materialization for record in records]
        return [
            {name: value.value for name, value in one.metadata.items()} for one in materialisations if one
        ]

    def materialised(self, day: date = FIRST) -> int:
        """How often Dagster was told of the date."""
        return len(self.materialisations(day))

    def times_materialised(self, days: list[date]) -> dict[date, int]:
        """How often Dagster was told of each of these dates."""
        partitions = [day.isoformat() for day in days]
        wanted = AssetRecordsFilter(AssetKey.from_user_string(self.asset), asset_partitions=partitions)
        with DagsterInstance.get() as instance:
            records = instance.fetch_materializations(wanted, limit=1000).records
        dates = [date.fromisoformat(record.partition_key or "") for record in records]
        return {day: dates.count(day) for day in days}

    def jobs(self, state: str = "") -> list[dict[str, Any]]:
        return [job for job in self.double.jobs() if state in ("", job["status"])]


@contextmanager
def deployed(folder: Path, double: Remote, patch: Any) -> Iterator[Deployment]:
    deployment = Deployment(folder, double)
    with running(deployment, patch):
        yield deployment


@contextmanager
def running(deployment: Deployment, patch: Any) -> Iterator[None]:
    """Runs the deployment with its environment variables, and ends all its processes afterwards."""
    for name, value in deployment.prepare().items():
        patch.setenv(name, value)
    patch.chdir(REPOSITORY)
    deployment.up()
    try:
        yield
    finally:
        deployment.kill()
