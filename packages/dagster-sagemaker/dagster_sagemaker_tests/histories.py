"""Random histories of one or two jobs of a step: runs that end in every way, two live runs of the same work, faults of AWS, and
the sensor's ticks, in simulated time.

The client and the sensor are the real ones. AWS is in memory, and Dagster is a list of runs. Each process of a run is a
greenlet: when it sleeps, the others continue. Nothing here is about one fault: `test_histories.py` draws the histories, and this
module checks them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from dagster import DagsterEventType, DagsterRun, DagsterRunStatus
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.pipes import utils
from greenlet import getcurrent, greenlet

from dagster_sagemaker import (
    Pacing,
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
    SageMakerJobFailed,
    batch,
    sensor,
)
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker_tests.conftest import processing, training
from dagster_sagemaker_tests.fake_aws import CLOSED, OPENED, FakeAws, FakeJob, refusal, told

HOUR = 3600.0
LONGEST_RUN = 900.0
"""Seconds after which the worker of a run is killed, so that every run ends."""
START = 1_700_000_000.0
"""Dagster's time at the beginning."""
LIVE = ("InProgress", "Stopping")
ENDS = {
    "success": (DagsterRunStatus.SUCCESS, DagsterEventType.RUN_SUCCESS),
    "failed": (DagsterRunStatus.FAILURE, DagsterEventType.RUN_FAILURE),
    "killed": (DagsterRunStatus.FAILURE, DagsterEventType.RUN_FAILURE),
    "evicted": (DagsterRunStatus.FAILURE, DagsterEventType.RUN_FAILURE),
    "cancelled": (DagsterRunStatus.CANCELED, DagsterEventType.RUN_CANCELED),
}
ENDINGS: dict[str, dict[str, Any]] = {
    "capacity": {"FailureReason": "CapacityError: Unable to provision requested ML compute capacity."},
    "internal": {"FailureReason": "InternalServerError: We encountered an internal error."},
    "algorithm": {"FailureReason": "AlgorithmError: x, exit code: 1"},
}


IN_PROCESSING = {"spot restart": "completed", "no spot": "person", "timeout": "person"}
"""What happens instead in Processing, which has neither spot instances nor a second status."""


class Killed(BaseException):
    """SIGKILL."""


class StepError(Exception):
    """An error in the asset's own code."""


@dataclass(frozen=True)
class Script:
    """What SageMaker does with one job, `seconds` after its creation."""

    ending: str
    """completed, no closed, spot restart, capacity, internal, algorithm, person, timeout, no spot, or forever."""
    seconds: float
    unknown_seconds: float = 0.0
    """How long Describe and Stop do not find the job."""
    stop_seconds: float = 0.0
    """How long the job is `Stopping`."""


@dataclass(frozen=True)
class Phase:
    """One process of a run, which supervises the jobs."""

    begin: str
    """resume (the run before, after its end), retry (of the step, in the same run), again (all steps, in a new run), or beside:
    a second run that resumes what the run before it resumes, while that one may be live."""
    end: str
    """none (goes on to its end), kill, evict, cancel, force (a kill of a cancelled run), crash (fails before it reports), break
    (leaves the loop after the first result), or error (fails after the first result)."""
    seconds: float
    """When it is interrupted."""
    pause: float
    """Seconds until the next phase."""
    image: str = "first"
    faults: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Aws(FakeAws):
    """Adds jobs that Describe and Stop do not find at once, and slow stops; notes what must not happen."""

    def __init__(self, world: World, scripts: list[Script]) -> None:
        super().__init__()
        self.world, self.plan = world, scripts
        self.hidden_until: dict[str, float] = {}
        self.stop_seconds: dict[str, float] = {}

    def sleep(self, seconds: float) -> None:
        """Lets the other processes continue."""
        process = getcurrent()
        if isinstance(process, Process):
            process.sleep(seconds)
        else:
            super().sleep(seconds)

    def _call(self, name: str) -> Any:
        """Faults belong to the process that calls. The sensor has those that the newest process has left."""
        process = getcurrent()
        process = process if isinstance(process, Process) else self.world.processes[-1]
        self.faults = process.faults
        return super()._call(name)

    def _create(self, kind: str, request: dict[str, Any]) -> dict[str, str]:
        script = self.plan[0] if self.plan else Script("completed", 5.0)
        self.scripts = [lambda aws, job: play(aws, job, script)]
        name, before = request[f"{kind}JobName"], set(self.jobs)
        try:
            return super()._create(kind, request)
        finally:
            if set(self.jobs) - before:
                self.plan = self.plan[1:]
                self.hidden_until[name] = self.now + script.unknown_seconds
                self.stop_seconds[name] = script.stop_seconds
                self.world.check(self.world.check_created, self.jobs[name])

    def _of(self, kind: str, name: str) -> FakeJob:
        if self.now < self.hidden_until.get(name, 0.0):
            raise refusal("ValidationException", f"Could not find requested job with name: {name}")
        return super()._of(kind, name)

    def stop_now(self, job: FakeJob) -> None:
        self.world.check(self.world.check_stopped, job)
        self.end_slowly(job, self.stop_seconds[job.name])

    def end_slowly(self, job: FakeJob, seconds: float) -> None:
        job.answer[f"{job.kind}JobStatus"] = "Stopping"
        self.step(job, "Stopping")
        self.at(seconds, lambda: self.end(job, "Stopped"))

    def end(self, job: FakeJob, status: str, **answer: Any) -> None:
        """Once."""
        if job.status in LIVE:
            super().end(job, status, **answer)


def alive(aws: FakeAws, job: FakeJob, action: Any) -> Any:
    """A job that is over, or being stopped, does nothing any more."""
    return lambda: action() if job.status == "InProgress" else None


def play(aws: Any, job: FakeJob, script: Script) -> None:
    """Plans the messages and the end of a job."""

    def at(seconds: float, action: Any) -> None:
        aws.at(seconds, alive(aws, job, action))

    def write(number: int, *messages: Any, container: str = "a") -> Any:
        return lambda: aws.write(job, number, *messages, container=container)

    half, end = script.seconds / 2, script.seconds
    ending = script.ending if job.kind == "Training" else IN_PROCESSING.get(script.ending, script.ending)
    results = [told(f"line 1 of {job.name}"), report(job, 1)], [told(f"line 2 of {job.name}"), report(job, 2)]
    at(0.5, lambda: aws.start(job))
    if ending in ("completed", "no closed", "forever", "algorithm", "person", "spot restart"):
        at(1.0, write(1, OPENED, *results[0]))
    if ending == "spot restart":
        at(half - 0.5, write(2, report(job, 99), CLOSED))
        at(half, lambda: aws.step(job, "Interrupted"))
        at(half + 1, write(1, OPENED, *results[0], container="b"))
        at(end - 0.5, write(2, *results[1], CLOSED, container="b"))
    elif ending == "completed":
        at(end - 0.5, write(2, *results[1], CLOSED))
    elif ending == "person":
        at(half - 0.5, write(2, *results[1], CLOSED))
    if ending in ("completed", "no closed", "spot restart"):
        at(end, lambda: aws.end(job, "Completed", closed=ending != "no closed"))
    elif ending in ENDINGS:
        at(end, lambda: aws.end(job, "Failed", **ENDINGS[ending]))
    elif ending == "person":
        at(half, lambda: aws.end_slowly(job, end - half))
    elif ending == "timeout":
        at(end, lambda: aws.end(job, "Stopped", SecondaryStatus="MaxRuntimeExceeded"))
    elif ending == "no spot":
        at(end, lambda: aws.end(job, "Stopped", SecondaryStatus="MaxWaitTimeExceeded"))


def report(job: FakeJob, number: int) -> dict[str, Any]:
    return {"method": "report_custom_message", "params": {"payload": [job.name, number]}}


def fault(word: str) -> Any:
    """The fault that `FakeAws.faults` takes."""
    throttled = refusal("ThrottlingException", "Rate exceeded")
    words = "The account-level service limit 'ml.m5.large for training job usage' is 2 Instances, with current utilization of 2"
    return {
        "none": None,
        "throttled": throttled,
        "lost": [throttled],
        "quota": refusal("ResourceLimitExceeded", words),
        "capacity": refusal("InsufficientInstanceCapacity"),
        "denied": refusal("AccessDeniedException", "not authorized"),
    }[word]


class Dagster:
    """The part of a Dagster instance that the client and the sensor use."""

    def __init__(self, aws: Any) -> None:
        self.aws = aws
        self.runs: dict[str, DagsterRun] = {}
        self.end_times: dict[str, float] = {}
        self.events: list[SimpleNamespace] = []
        self.recorded: set[str] = set()
        """Runs whose results Dagster has stored."""

    def time(self) -> float:
        return START + self.aws.now

    def start(self, parent: DagsterRun | None, resumes: bool) -> DagsterRun:
        tags = {}
        if parent:
            root = parent.root_run_id or parent.run_id
            tags = {"dagster/parent_run_id": parent.run_id, "dagster/root_run_id": root}
            tags |= {"dagster/is_resume_retry": "true"} if resumes else {}
        run = DagsterRun(
            job_name="loads",
            run_id=str(uuid.UUID(int=len(self.runs) + 1)),
            status=DagsterRunStatus.STARTED,
            tags=tags,
            parent_run_id=parent.run_id if parent else None,
            root_run_id=tags.get("dagster/root_run_id"),
        )
        self.runs[run.run_id] = run
        return run

    def change(self, run_id: str, status: DagsterRunStatus) -> None:
        self.runs[run_id] = self.runs[run_id].with_status(status)

    def end(self, run_id: str, how: str) -> None:
        status, event = ENDS[how]
        self.change(run_id, status)
        self.end_times[run_id] = self.time()
        entry = SimpleNamespace(run_id=run_id)
        number = len(self.events) + 1
        self.events.append(
            SimpleNamespace(storage_id=number, type=event, timestamp=self.time(), event_log_entry=entry)
        )

    def get_run_by_id(self, run_id: str) -> DagsterRun | None:
        return self.runs.get(run_id)

    def get_run_record_by_id(self, run_id: str) -> Any:
        return SimpleNamespace(dagster_run=self.runs[run_id], end_time=self.end_times.get(run_id))

    def get_run_records(self, filters: Any) -> list[Any]:
        wanted = filters.tags or {}
        return [
            self.get_run_record_by_id(run_id)
            for run_id, run in self.runs.items()
            if (not filters.run_ids or run_id in filters.run_ids)
            and all(run.tags.get(tag) == value for tag, value in wanted.items())
        ]

    def fetch_run_status_changes(self, records_filter: Any, limit: int, ascending: bool) -> Any:
        assert ascending
        after, since = records_filter.after_storage_id or 0, records_filter.after_timestamp or 0.0
        records = [
            event
            for event in self.events
            if event.type is records_filter.event_type
            and event.storage_id > after
            and event.timestamp > since
        ]
        return SimpleNamespace(records=records[:limit])

    def report_engine_event(self, *_: Any, **__: Any) -> None:
        pass


class Context:
    """The part of a step's context that the client uses. Keeps the lines that the run's log shows."""

    has_assets_def = has_partition_key = has_partition_key_range = False

    def __init__(self, dagster: Dagster, run_id: str, lines: list[str]) -> None:
        def write(message: str) -> None:
            pass

        def shown(_: str, message: str) -> None:
            lines.append(message)

        self.instance, self.run_id = dagster, run_id
        self.log = SimpleNamespace(info=write, warning=write, error=write, debug=write, log=shown)
        self._step = SimpleNamespace(key="loads")
        self._try = Try(self._step)

    @property
    def run(self) -> DagsterRun:
        return self.instance.runs[self.run_id]

    def get_step_execution_context(self) -> Any:
        return self._try


@dataclass(eq=False)
class Try:
    step: Any


class Process(greenlet):
    """A process of a run. It lives until `world.supervise` returns or raises."""

    def __init__(self, world: World, run: DagsterRun, phase: Phase, retried: bool) -> None:
        super().__init__(lambda: world.supervise(self))
        self.world, self.run_id, self.phase, self.retried = world, run.run_id, phase, retried
        self.begun = world.aws.now
        self.faults = {call: [fault(word) for word in words] for call, words in phase.faults.items()}
        self.failed = False
        """Whether one of its jobs has failed."""
        self.interrupted_at = float("inf")
        self._sleeps = 0

    def sleep(self, seconds: float) -> None:
        self._sleeps += 1
        number = self._sleeps

        def wake() -> None:
            if not self.dead and self._sleeps == number:
                self.switch()

        self.world.aws.at(max(seconds, 0.001), wake)
        assert self.parent
        self.parent.switch()

    def interrupt(self, kind: str) -> None:
        if self.dead:
            return
        self.interrupted_at = self.world.aws.now
        if kind in ("cancel", "force"):
            self.world.dagster.change(self.run_id, DagsterRunStatus.CANCELING)
        self._sleeps += 1
        self.throw(Killed if kind in ("kill", "force") else DagsterExecutionInterruptedError)

    @property
    def waits(self) -> bool:
        """Whether it is alive, and its run was not cancelled."""
        return not self.dead and self.world.dagster.runs[self.run_id].status is DagsterRunStatus.STARTED


class World:
    """Plays a history, and raises AssertionError where a rule is broken."""

    def __init__(
        self,
        scripts: list[Script],
        phases: list[Phase],
        kind: str = "Training",
        keys: tuple[str, ...] = ("a",),
    ) -> None:
        self.aws = Aws(self, scripts)
        self.dagster = Dagster(self.aws)
        self.phases, self.kind, self.keys = phases, kind, keys
        self.cursor: str | None = None
        self.lines: dict[str, list[str]] = {}
        self.processes: list[Process] = []
        self.works: dict[str, int] = {}
        """Number of the work of each run: the same for a run and those that resume it."""
        self.work_of: dict[str, tuple[int, str]] = {}
        """Number of the work, and key, of each job."""
        self.delivered: dict[str, float] = {}
        """When Dagster stored the results of each job."""

        self.broken: list[AssertionError] = []

    # Rules

    def check(self, rule: Callable[[FakeJob], None], job: FakeJob) -> None:
        """Keeps the error, because the client goes on after an error of one Stop."""
        try:
            rule(job)
        except AssertionError as error:
            self.broken.append(error)
            raise

    def group(self, job: FakeJob) -> list[FakeJob]:
        """All jobs of the same work and key, in order."""
        return [
            other for other in self.aws.jobs.values() if self.work_of[other.name] == self.work_of[job.name]
        ]

    def waiting(self, job: FakeJob) -> list[Process]:
        """The processes that wait for a job of the same work and image."""
        work = self.work_of[job.name][0]
        return [
            process
            for process in self.processes
            if process.waits and self.works[process.run_id] == work and process.phase.image == image_of(job)
        ]

    def check_created(self, job: FakeJob) -> None:
        """One job where one is right."""
        process = getcurrent()
        assert isinstance(process, Process)
        assert not process.failed or "create" in process.phase.faults, (
            f"{job.name} was created after a failure"
        )
        self.work_of[job.name] = self.works[process.run_id], key_of(job)
        for other in self.group(job):
            if other is not job:
                assert other.status not in LIVE, f"{job.name} was created beside {other.name}"
        for last in self.group(job)[-2:-1]:
            assert not self.has_unread_results(last), f"{last.name} had the results"

    def has_unread_results(self, job: FakeJob) -> bool:
        """Whether a next run has to use the job's results. A run that repeats a successful one may do the work again."""
        one_image = len({phase.image for phase in self.phases}) == 1
        work = self.work_of[job.name][0]
        runs = [self.dagster.runs[run_id] for run_id, of in self.works.items() if of == work]
        if not one_image or any(run.status is DagsterRunStatus.SUCCESS for run in runs):
            return False
        return job.status == "Completed" and bool(job.answer.get("closed"))

    def check_stopped(self, job: FakeJob) -> None:
        """A job that a live or resumable run waits for is not stopped, unless it is outdated."""
        work = self.work_of[job.name][0]
        process = getcurrent()
        others = [other for other in self.waiting(job) if other is not process]
        assert not others, f"{job.name} was stopped while another run waits for it"
        if isinstance(process, Process) and process.waits:
            abandoned = process.phase.end in ("break", "error")
            assert abandoned or image_of(job) != process.phase.image, (
                f"{job.name} was stopped while its run waits"
            )
            return
        runs = [self.dagster.runs[run_id] for run_id, of in self.works.items() if of == work]
        if any(run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED) for run in runs):
            return
        last = max(self.dagster.end_times.get(run.run_id, float("inf")) for run in runs)
        assert last <= self.dagster.time() - HOUR, f"{job.name} was stopped while its run may be resumed"

    def check_failure(self, process: Process, failure: SageMakerJobFailed) -> None:
        """A failure says where a job may still be running, unless another process waits for it."""
        for job in self.of_process(process):
            if job.status in LIVE and not [other for other in self.waiting(job) if other is not process]:
                assert "running" in (failure.description or "") or len(self.keys) > 1, failure.description

    def of_process(self, process: Process) -> list[FakeJob]:
        work = self.works[process.run_id]
        return [job for job in self.aws.jobs.values() if self.work_of[job.name][0] == work]

    def check_cancelled(self, process: Process) -> None:
        """A cancelled run ends soon, and has stopped its jobs."""
        begun = process.interrupted_at
        assert self.aws.now - begun <= (10.0 + 2.0) * len(self.keys), "the cancelled run did not end"
        if process.phase.seconds >= 1.0:
            self.check_none_runs(process, begun)

    def check_none_runs(self, process: Process, left_at: float) -> None:
        """Each job that SageMaker knew was stopped, unless another run waits for it."""
        live = [other for other in self.processes if not other.dead and other is not process]
        if live or set(process.phase.faults) & {"stop", "get", "describe"}:
            return
        for job in self.of_process(process):
            if self.aws.hidden_until[job.name] < left_at + 9.0:
                assert job.status != "InProgress", f"{job.name} runs on"

    def check_success(self, process: Process, invocation: Any) -> None:
        """No success without the results of one completed job, each message once."""
        payloads = [tuple(payload) for payload in invocation.get_custom_messages()]
        assert payloads, "success without results"
        job = self.aws.jobs[payloads[0][0]]
        assert payloads == [(job.name, 1), (job.name, 2)]
        assert job.status == "Completed" and self.work_of[job.name][0] == self.works[process.run_id]
        unwritten = any("put" in phase.faults for phase in self.phases)
        delivered_at = self.delivered.get(job.name, float("inf"))
        assert unwritten or delivered_at >= process.begun, "Dagster had these results"
        assert image_of(job) == process.phase.image, "results of an outdated job"
        lines = [line for line in self.lines[process.run_id] if line.startswith("line") and job.name in line]
        restarted = any(
            step["Status"] == "Interrupted" for step in job.answer.get("SecondaryStatusTransitions", [])
        )
        wanted = [f"line 1 of {job.name}", f"line 2 of {job.name}"]
        assert sorted(set(lines)) == wanted
        # A retry shows lines again if the read position was not written.
        assert restarted or unwritten or sorted(lines) == wanted, "a line was shown twice in a run"

    def check_end(self) -> None:
        for error in self.broken:
            raise error
        left = [job.name for job in self.aws.jobs.values() if job.status in LIVE]
        assert not left, f"left running: {left}"

    # Play

    @contextmanager
    def simulated(self) -> Iterator[None]:
        """Simulated time and Dagster. Interrupts are part of the history, not signals."""
        clock = SimpleNamespace(time=self.dagster.time, monotonic=lambda: self.aws.now)
        with ExitStack() as stack:
            for place, name, value in (
                (sensor, "time", clock),
                (batch, "capture_interrupts", nullcontext),
                (utils, "build_external_execution_context_data", lambda _, extras: {"extras": extras}),
                (StepRun, "has_results_of", lambda _, run_id: run_id in self.dagster.recorded),
                (StepRun, "report", lambda *_: None),
            ):
                stack.enter_context(patch.object(place, name, value))
            yield

    def play(self) -> None:
        with self.simulated():
            self.aws.at(100.0, self.tick_again)
            before: Process | None = None
            for number, phase in enumerate(self.phases):
                if before and not self.starts_beside(phase, before):
                    self.wait_for(before)
                    self.aws.sleep(before.phase.pause)
                retried = number + 1 < len(self.phases) and self.phases[number + 1].begin == "retry"
                before = self.start(before, phase, retried)
                if number + 1 < len(self.phases) and self.starts_beside(self.phases[number + 1], before):
                    self.aws.sleep(phase.pause)
            for process in self.processes:
                self.wait_for(process)
            self.processes[-1].faults = {}
            self.aws.sleep(2.5 * HOUR)
        self.check_end()

    def wait_for(self, process: Process) -> None:
        while not process.dead:
            self.aws.sleep(1.0)

    def starts_beside(self, phase: Phase, before: Process) -> bool:
        return phase.begin == "beside" and self.works[before.run_id] == self.works.get(
            self.dagster.runs[before.run_id].parent_run_id or ""
        )

    def start(self, before: Process | None, phase: Phase, retried: bool) -> Process:
        run = self.begin(before, phase)
        process = Process(self, run, phase, retried)
        self.processes.append(process)
        kind = phase.end if phase.end in ("kill", "evict", "cancel", "force") else "kill"
        seconds = phase.seconds if kind == phase.end else LONGEST_RUN
        self.aws.at(seconds, lambda: process.interrupt(kind))
        process.switch()
        return process

    def begin(self, before: Process | None, phase: Phase) -> DagsterRun:
        if before is None:
            run = self.dagster.start(None, resumes=False)
            self.works[run.run_id] = 0
            return run
        parent = self.dagster.runs[before.run_id]
        if phase.begin == "retry" and parent.status is DagsterRunStatus.STARTED:
            return parent
        if self.starts_beside(phase, before):
            parent = self.dagster.runs[parent.parent_run_id or ""]
        run = self.dagster.start(parent, resumes=phase.begin != "again")
        again = phase.begin == "again"
        self.works[run.run_id] = len(self.works) if again else self.works[parent.run_id]
        return run

    def supervise(self, process: Process) -> None:
        """The body of a process, and the end of its run."""
        try:
            self.run_step(process)
        except SageMakerJobFailed as failure:
            self.check_failure(process, failure)
        except (Killed, DagsterExecutionInterruptedError, StepError):
            pass
        status = self.dagster.runs[process.run_id].status
        if status is DagsterRunStatus.CANCELING and process.phase.end == "cancel":
            self.check_cancelled(process)
        if status is DagsterRunStatus.CANCELING:
            self.dagster.end(process.run_id, "cancelled")
        elif status is DagsterRunStatus.STARTED and not process.retried:
            self.dagster.end(process.run_id, "failed")
        self.aws.at(1.0, self.tick)
        self.aws.at(15.0, self.tick)

    def run_step(self, process: Process) -> None:
        """The asset: takes the results of all jobs, or leaves early."""
        phase, jobs = process.phase, self.jobs(process.phase)
        context: Any = Context(self.dagster, process.run_id, self.lines.setdefault(process.run_id, []))
        results: list[Any] = []
        failure: SageMakerJobFailed | None = None
        try:
            with self.client().run_all(context=context, jobs=jobs, at_once=len(jobs)) as ends:
                for end in ends:
                    failure, process.failed = (
                        failure or end.failure,
                        process.failed or end.failure is not None,
                    )
                    if end.invocation:
                        self.check_success(process, end.invocation)
                        results += end.invocation.get_custom_messages()
                    left_at = self.aws.now
                    self.aws.sleep(10.0)
                    if phase.end == "error":
                        raise StepError
                    if phase.end == "break":
                        break
        finally:
            if (
                phase.end in ("break", "error")
                and process.interrupted_at > self.aws.now
                and not process.failed
            ):
                self.check_none_runs(process, left_at)
        if failure:
            raise failure
        if phase.end == "crash":
            return
        self.delivered |= {payload[0]: self.aws.now for payload in results}
        self.dagster.recorded.add(process.run_id)
        self.dagster.end(process.run_id, "success")

    def client(self) -> Any:
        clients = {"Training": PipesSageMakerTrainingClient, "Processing": PipesSageMakerProcessingClient}
        return clients[self.kind](
            "s3://bucket/artifacts",
            sagemaker=self.aws,
            s3=self.aws,
            logs=self.aws,
            follow_logs=False,
            pacing=Pacing(messages=5.0),
            clock=self.aws.clock(),
        )

    def jobs(self, phase: Phase) -> list[Any]:
        types = ("ml.m5.large", "ml.m6i.large")
        if self.kind == "Training":
            return [
                training(key=key, image=phase.image, instance_types=types, spot=True) for key in self.keys
            ]
        return [processing(key=key, image=phase.image, instance_types=types) for key in self.keys]

    def tick_again(self) -> None:
        self.aws.at(300.0, self.tick_again)
        self.tick()

    def tick(self) -> None:
        log = SimpleNamespace(info=lambda _: None, warning=lambda _: None)
        sweep = sensor.Sweep(self.dagster, log, "s3://bucket/artifacts", lambda _: self.aws, HOUR)  # pyright: ignore[reportArgumentType]
        self.cursor = sweep.run(self.cursor)


def image_of(job: FakeJob) -> str:
    program = job.request.get("AlgorithmSpecification") or job.request["AppSpecification"]
    return program.get("TrainingImage") or program["ImageUri"]


def key_of(job: FakeJob) -> str:
    return next(tag["Value"] for tag in job.request["Tags"] if tag["Key"] == "dagster/key")
