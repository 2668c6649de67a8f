"""Random histories of a job: runs that end in every way, faults of AWS, and the sensor's ticks, in simulated time.

The client and the sensor are the real ones. AWS is in memory, and Dagster is a list of runs. Nothing here is about one fault:
`test_histories.py` draws the histories, and this module checks them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from dagster import DagsterEventType, DagsterRun, DagsterRunStatus
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.pipes import utils

from dagster_sagemaker import Pacing, PipesSageMakerTrainingClient, SageMakerJobFailed, sensor
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker_tests.conftest import training
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


class Killed(BaseException):
    """SIGKILL."""


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
    """One process that supervises the job."""

    begin: str
    """resume, retry (of the step, in the same run), or again (all steps in a new run)."""
    end: str
    """none (goes on to its end), kill, evict, cancel, force (a kill of a cancelled run), or crash (fails before it reports)."""
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
                self.world.check_created(self.jobs[name])

    def _of(self, kind: str, name: str) -> FakeJob:
        if self.now < self.hidden_until.get(name, 0.0):
            raise refusal("ValidationException", f"Could not find requested job with name: {name}")
        return super()._of(kind, name)

    def stop_now(self, job: FakeJob) -> None:
        self.world.check_stopped(job)
        self.end_slowly(job, self.stop_seconds[job.name])

    def end_slowly(self, job: FakeJob, seconds: float) -> None:
        job.answer["TrainingJobStatus"] = "Stopping"
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
    results = [told(f"line 1 of {job.name}"), report(job, 1)], [told(f"line 2 of {job.name}"), report(job, 2)]
    at(0.5, lambda: aws.start(job))
    if script.ending in ("completed", "no closed", "forever", "algorithm", "person", "spot restart"):
        at(1.0, write(1, OPENED, *results[0]))
    if script.ending == "spot restart":
        at(half - 0.5, write(2, report(job, 99), CLOSED))
        at(half, lambda: aws.step(job, "Interrupted"))
        at(half + 1, write(1, OPENED, *results[0], container="b"))
        at(end - 0.5, write(2, *results[1], CLOSED, container="b"))
    elif script.ending == "completed":
        at(end - 0.5, write(2, *results[1], CLOSED))
    elif script.ending == "person":
        at(half - 0.5, write(2, *results[1], CLOSED))
    if script.ending in ("completed", "no closed", "spot restart"):
        at(end, lambda: aws.end(job, "Completed", closed=script.ending != "no closed"))
    elif script.ending in ENDINGS:
        at(end, lambda: aws.end(job, "Failed", **ENDINGS[script.ending]))
    elif script.ending == "person":
        at(half, lambda: aws.end_slowly(job, end - half))
    elif script.ending == "timeout":
        at(end, lambda: aws.end(job, "Stopped", SecondaryStatus="MaxRuntimeExceeded"))
    elif script.ending == "no spot":
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


class World:
    """Plays a history, and raises AssertionError where a rule is broken."""

    def __init__(self, scripts: list[Script], phases: list[Phase]) -> None:
        self.aws = Aws(self, scripts)
        self.dagster = Dagster(self.aws)
        self.phases = phases
        self.cursor: str | None = None
        self.lines: dict[str, list[str]] = {}
        self.phase: Phase | None = None
        """The phase whose process lives."""
        self.run_id = ""
        self.works: dict[str, int] = {}
        """Number of the work of each run: the same for a run and those that resume it."""
        self.work_of: dict[str, int] = {}
        """Number of the work of each job."""
        self.delivered: set[str] = set()
        """Jobs whose results Dagster has stored."""

    # Rules

    def group(self, job: FakeJob) -> list[FakeJob]:
        """All jobs of the same work, in order."""
        return [
            other for other in self.aws.jobs.values() if self.work_of[other.name] == self.work_of[job.name]
        ]

    def check_created(self, job: FakeJob) -> None:
        """One job where one is right."""
        self.work_of[job.name] = self.works[self.run_id]
        for other in self.group(job):
            if other is not job:
                assert other.status not in LIVE, f"{job.name} was created beside {other.name}"
        for last in self.group(job)[-2:-1]:
            assert not self.has_unread_results(last), f"{last.name} had the results"

    def has_unread_results(self, job: FakeJob) -> bool:
        one_image = len({phase.image for phase in self.phases}) == 1
        if job.status != "Completed" or not one_image or not job.answer.get("closed"):
            return False
        return job.name not in self.delivered

    def check_stopped(self, job: FakeJob) -> None:
        """A job that a live or resumable run waits for is not stopped, unless it is outdated."""
        work = self.work_of[job.name]
        runs = [self.dagster.runs[run_id] for run_id, of in self.works.items() if of == work]
        if self.phase and self.dagster.runs[self.run_id].status is DagsterRunStatus.STARTED:
            waits = work == self.works[self.run_id] and image_of(job) == self.phase.image
            assert not waits, f"{job.name} was stopped while its run waits"
            return
        if any(run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED) for run in runs):
            return
        last = max(self.dagster.end_times.get(run.run_id, float("inf")) for run in runs)
        assert last <= self.dagster.time() - HOUR, f"{job.name} was stopped while its run may be resumed"

    def check_failure(self, failure: SageMakerJobFailed) -> None:
        """A failure says where a job may still be running."""
        mine = [job for job in self.aws.jobs.values() if self.work_of[job.name] == self.works[self.run_id]]
        if any(job.status in LIVE for job in mine):
            assert "running" in (failure.description or "") or "runs, and" in (failure.description or "")

    def check_cancelled(self, phase: Phase, begun: float) -> None:
        """A cancelled run ends soon, and has stopped the job that SageMaker knew."""
        assert self.aws.now - begun <= 10.0 + 2.0, "the cancelled run did not end"
        if set(phase.faults) & {"stop", "get", "describe"} or phase.seconds < 1.0:
            return
        for job in self.aws.jobs.values():
            known = self.aws.hidden_until[job.name] < begun + 9.0
            if known and self.work_of[job.name] == self.works[self.run_id]:
                assert job.status != "InProgress", f"{job.name} runs on after the cancel"

    def check_success(self, invocation: Any) -> None:
        """No success without the results of one completed job, each message once."""
        payloads = [tuple(payload) for payload in invocation.get_custom_messages()]
        assert payloads, "success without results"
        job = self.aws.jobs[payloads[0][0]]
        assert payloads == [(job.name, 1), (job.name, 2)]
        assert job.status == "Completed" and self.work_of[job.name] == self.works[self.run_id]
        unwritten = any("put" in phase.faults for phase in self.phases)
        assert unwritten or job.name not in self.delivered, "Dagster had these results"
        assert self.phase and image_of(job) == self.phase.image, "results of an outdated job"
        lines = [line for line in self.lines[self.run_id] if line.startswith("line") and job.name in line]
        restarted = any(
            step["Status"] == "Interrupted" for step in job.answer.get("SecondaryStatusTransitions", [])
        )
        wanted = [f"line 1 of {job.name}", f"line 2 of {job.name}"]
        assert sorted(set(lines)) == wanted
        assert restarted or sorted(lines) == wanted, "a line was shown twice in a run"

    def check_end(self) -> None:
        left = [job.name for job in self.aws.jobs.values() if job.status in LIVE]
        assert not left, f"left running: {left}"

    # Play

    def play(self) -> None:
        clock = SimpleNamespace(time=self.dagster.time, monotonic=lambda: self.aws.now)
        with (
            patch.object(sensor, "time", clock),
            patch.object(
                utils, "build_external_execution_context_data", lambda _, extras: {"extras": extras}
            ),
            patch.object(StepRun, "has_results_of", lambda _, run_id: run_id in self.dagster.recorded),
            patch.object(StepRun, "report", lambda *_: None),
        ):
            self.aws.at(100.0, self.tick_again)
            run: DagsterRun | None = None
            for number, phase in enumerate(self.phases):
                run = self.play_phase(run, phase)
                again = number + 1 < len(self.phases) and self.phases[number + 1].begin == "retry"
                if not again or self.dagster.runs[run.run_id].status is not DagsterRunStatus.STARTED:
                    self.end_run(run)
                self.aws.at(1.0, self.tick)
                self.aws.at(15.0, self.tick)
                self.aws.sleep(phase.pause)
            self.aws.faults = {}
            self.aws.sleep(2.5 * HOUR)
        self.check_end()

    def end_run(self, run: DagsterRun) -> None:
        status = self.dagster.runs[run.run_id].status
        if status is DagsterRunStatus.CANCELING:
            self.dagster.end(run.run_id, "cancelled")
        elif status is DagsterRunStatus.STARTED:
            self.dagster.end(run.run_id, "failed")

    def tick_again(self) -> None:
        self.aws.at(300.0, self.tick_again)
        self.tick()

    def tick(self) -> None:
        log = SimpleNamespace(info=lambda _: None, warning=lambda _: None)
        sweep = sensor.Sweep(self.dagster, log, "s3://bucket/artifacts", lambda _: self.aws, HOUR)  # pyright: ignore[reportArgumentType]
        self.cursor = sweep.run(self.cursor)

    def play_phase(self, before: DagsterRun | None, phase: Phase) -> DagsterRun:
        run = self.begin(before, phase)
        self.run_id, self.phase = run.run_id, phase
        self.aws.faults = {call: [fault(word) for word in words] for call, words in phase.faults.items()}
        client = PipesSageMakerTrainingClient(
            "s3://bucket/artifacts",
            sagemaker=self.aws,
            s3=self.aws,
            logs=self.aws,
            follow_logs=False,
            pacing=Pacing(messages=5.0),
            clock=self.aws.clock(),
        )
        context: Any = Context(self.dagster, run.run_id, self.lines.setdefault(run.run_id, []))
        job = training(image=phase.image, instance_types=("ml.m5.large", "ml.m6i.large"), spot=True)
        begun = self.plan_interrupt(run, phase)
        try:
            invocation = client.run(context=context, job=job)
            self.check_success(invocation)
            if phase.end == "crash":
                return run
            self.delivered |= {payload[0] for payload in invocation.get_custom_messages()}
            self.dagster.recorded.add(run.run_id)
            self.dagster.end(run.run_id, "success")
        except SageMakerJobFailed as failure:
            self.check_failure(failure)
        except (Killed, DagsterExecutionInterruptedError):
            pass
        finally:
            self.phase = None
        if self.dagster.runs[run.run_id].status is DagsterRunStatus.CANCELING and phase.end == "cancel":
            self.check_cancelled(phase, begun)
        return run

    def begin(self, before: DagsterRun | None, phase: Phase) -> DagsterRun:
        if before is None:
            run = self.dagster.start(None, resumes=False)
        elif phase.begin == "retry" and self.dagster.runs[before.run_id].status is DagsterRunStatus.STARTED:
            return before
        else:
            run = self.dagster.start(before, resumes=phase.begin != "again")
        continued = before if phase.begin != "again" else None
        self.works[run.run_id] = self.works[continued.run_id] if continued else len(self.works)
        return run

    def plan_interrupt(self, run: DagsterRun, phase: Phase) -> float:
        """Plans that the phase is interrupted. Returns the time."""
        kind = phase.end if phase.end in ("kill", "evict", "cancel", "force") else "kill"
        seconds = phase.seconds if kind == phase.end else LONGEST_RUN

        def interrupt() -> None:
            if self.phase is not phase:
                return
            if kind in ("cancel", "force"):
                self.dagster.change(run.run_id, DagsterRunStatus.CANCELING)
            raise Killed if kind in ("kill", "force") else DagsterExecutionInterruptedError

        self.aws.at(seconds, interrupt)
        return self.aws.now + seconds


def image_of(job: FakeJob) -> str:
    return job.request["AlgorithmSpecification"]["TrainingImage"]
