"""Supervises one job from its key to its end: adopts or creates it, watches it, and starts another attempt if that helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from dagster import PipesClientCompletedInvocation

from dagster_sagemaker.calls import Calls, InUse, NoCapacity, NotFound, QuotaReached, Refused, Transient
from dagster_sagemaker.choices import Choices
from dagster_sagemaker.folder import Attempt, Folder, Record
from dagster_sagemaker.jobs import Job, TrainingJob
from dagster_sagemaker.kinds import PROCESSING, TRAINING, Kind
from dagster_sagemaker.limits import LimitsExceeded, preflight
from dagster_sagemaker.messages import Inbox
from dagster_sagemaker.metadata import job_metadata
from dagster_sagemaker.names import folder_name, job_name
from dagster_sagemaker.outcomes import Ending, Outcome, SageMakerJobFailed, explain, outcome
from dagster_sagemaker.pacing import Timer, Unanswered
from dagster_sagemaker.requests import create_request, identity_digests, json_extras
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker.settings import ClientSettings
from dagster_sagemaker.states import Machine, State
from dagster_sagemaker.stopping import StopResult, stop_job
from dagster_sagemaker.watch import Watch

_DESCRIBES = 4
"""Describe calls per minute."""
_CHECK_INTERVAL = 15.0
"""Seconds between two Describe calls of a job that is stopping, or that SageMaker may not know yet."""
_VISIBILITY_DELAY = 60.0
"""Seconds after a Create in which Describe may not find the job yet."""


class _CannotRun(Exception):
    """The job cannot run: no instances, another job with its name, or an outdated job that cannot be stopped."""

    def __init__(self, ending: Ending, message: str) -> None:
        super().__init__(message)
        self.ending = ending


class SupervisedJob:
    """One job. `step` does what is due without waiting. `due` is when to call it next. Sets `invocation` or `failure`."""

    def __init__(
        self, settings: ClientSettings, run: StepRun, job: Job, extras: Mapping[str, Any], several: bool
    ) -> None:
        self.settings, self.run, self.job = settings, run, job
        self.key = job.key or run.key
        self.calls, self.machine = Calls(), Machine()
        self.folder = Folder(
            settings.s3, self.calls, settings.artifacts, run.origin_run, folder_name(self.key, run.step)
        )
        self.choices = Choices(job, settings.pacing, settings.clock)
        self.record = Record(self.key)
        self.invocation: PipesClientCompletedInvocation | None = None
        self.failure: SageMakerJobFailed | None = None
        self._extras = json_extras({**extras, **job.extras})
        self._inbox: Inbox | None = None
        self._label = f"[{self.key}] " if several else ""
        self._window = settings.pacing.window(_DESCRIBES)
        self._timer, self._absence_timer = self._new_timer(), self._new_timer()
        self._watch: Watch | None = None
        self._request: dict[str, Any] = {}
        self._visible_by = settings.clock.now() + _VISIBILITY_DELAY * settings.pacing.scale
        """Until this time, Describe may not find a job that exists."""
        self._refusal: Refused | None = None
        """Create's error, if only Describe can show whether the job of this attempt exists."""
        self._stop_tried = False
        self._actions: dict[State, Callable[[], None]] = {
            State.LOOKING_UP: self._look_up,
            State.INSPECTING: self._inspect,
            State.ENDING: self._inspect,
            State.PREPARING: self._prepare,
            State.CREATING: self._create_again,
            State.CONFIRMING: self._confirm,
        }

    @property
    def ended(self) -> bool:
        return self.machine.ended

    @property
    def may_exist(self) -> bool:
        """Whether SageMaker may have a job of this attempt whose end is not known."""
        return self.machine.may_exist

    @property
    def waits_to_start(self) -> bool:
        """Whether no job exists before the next step."""
        return self.machine.state is State.PREPARING

    @property
    def due(self) -> float:
        return self._watch.due if self._watch else self._timer.due

    @property
    def attempt(self) -> Attempt:
        return self.record.attempts[-1]

    @property
    def name(self) -> str:
        return self.attempt.name if self.record.attempts else self.key

    def step(self) -> None:
        try:
            if self._watch is None:
                self._timer.attempt(self._actions[self.machine.state])
            elif self._watch.step() and self._watch.outcome:
                self._handle_end(self._watch, self._watch.outcome)
        except _CannotRun as fault:
            self._fail(fault.ending, str(fault), allow_retries=fault.ending is Ending.CAPACITY)
        except LimitsExceeded as fault:
            self._fail(Ending.REFUSED, str(fault))
        except Unanswered as fault:
            message = f"AWS does not answer: {fault}.{self._job_left_running('a retry')}"
            self._fail(Ending.UNKNOWN, message, allow_retries=True)
        except Refused as fault:
            place = (
                f" at s3://{self.folder.bucket}/{self.folder.prefix}"
                if fault.operation in ("GetObject", "PutObject")
                else ""
            )
            message = (
                f"AWS refuses {fault.operation} of job {self.name}{place}: {fault.code}: {fault.message}"
            )
            message += f" {fault.remedy}" if fault.remedy else ""
            self._fail(Ending.REFUSED, message + self._job_left_running("a run from failure"))

    def report_end(self) -> None:
        if self._watch:
            self._watch.report_end()

    def stop(self) -> bool:
        """Stops the job. Returns False if another try is needed."""
        # A run that has begun meanwhile may have created the job.
        if self._stop_tried and self.run.is_continued():
            self.run.context.log.warning(
                f"[sagemaker] left running, because another run needs it: {self.name}"
            )
            self.leave()
            return True
        self._stop_tried = True
        try:
            result = stop_job(self.calls, self.settings.sagemaker, self.name, [self.settings.kind])
        except Transient:
            return False
        except Refused as refusal:
            self.run.context.log.warning(
                f"[sagemaker] {self.name} cannot be stopped ({refusal.code}: {refusal.message}) and is still running, "
                f"at a cost. Stop it in the console: {self.settings.links(self.name)['sagemaker/console'].value}"
            )
            self.machine.enter(State.LEFT)
            return True
        if result is StopResult.UNKNOWN:
            return False
        if result is StopResult.OVER:
            self.run.context.log.info(f"[sagemaker] {self.name} has already ended")
        self.machine.enter(State.STOPPED)
        self.close_inbox()
        return True

    def leave(self) -> None:
        """Leaves the job running. Another process may adopt it."""
        self.machine.enter(State.LEFT)
        self.close_inbox()

    def mark_delivered(self) -> None:
        """Records that this step has received the results. Does nothing for a failed job."""
        if self.invocation is not None:
            self.record.delivered = self.run.run_id
            self._write_record()

    # Before the job runs

    def _look_up(self) -> None:
        self.record = self.folder.read_record(self.key)
        if self.record.attempts:
            self.choices.resume(self.attempt)
            self._next(State.INSPECTING)
        else:
            self._plan_attempt()

    def _plan_attempt(self, wait: float = 0.0) -> None:
        """Adds the next attempt to the record, with the chosen instance type and market."""
        number = self.attempt.number + 1 if self.record.attempts else 0
        prefix = self.settings.name_prefix
        name = job_name(self.key, self.run.origin_run, number, step=self.run.step, prefix=prefix)
        instances = (self.choices.instance_type, self.choices.spot)
        self.record.attempts.append(Attempt(number, name, *instances, self.run.run_id))
        self.record.delivered, self._absence_timer, self._watch = "", self._new_timer(), None
        self._visible_by = self.settings.clock.now()
        self.close_inbox()
        self._next(State.PREPARING, wait)

    def _prepare(self) -> None:
        """Writes the record before it calls Create, so that each job has a record."""
        if self._is_overtaken():
            return
        instance_type, spot = self.choices.instance_type, self.choices.spot
        attempt = replace(self.attempt, run_id=self.run.run_id, instance_type=instance_type, spot=spot)
        self._refusal = None
        self._request = create_request(
            self.job,
            attempt.name,
            attempt.instance_type,
            self._pipes_variables(),
            folder=self.folder.address(attempt.number),
            tags=self.run.tags(self.key),
            spot=attempt.spot,
        )
        preflight(self._request)
        attempt.made_of = self._digests
        self.folder.write_inputs(attempt.number, self.job, self.inbox.session.context_data)
        record = replace(self.record, attempts=[*self.record.attempts[:-1], attempt])
        self.folder.write_record(record)
        self.record = record
        self._next(State.CREATING)
        # S3 has answered. Count the failures of Create from zero.
        self._timer.failures = 0
        unsure = self.settings.clock.now() < self._visible_by
        self._create(
            refused=self._confirm_refusal if unsure else self._handle_refusal, in_use=State.INSPECTING
        )

    def _is_overtaken(self) -> bool:
        """Whether another run has launched an attempt meanwhile. Then its job is inspected."""
        stored = self.folder.read_record(self.key)
        launched_by, known = ([attempt.run_id for attempt in r.attempts] for r in (stored, self.record))
        if launched_by == known[: len(launched_by)]:
            return False
        self.record, self._refusal = stored, None
        self.choices.resume(self.attempt)
        self.close_inbox()
        # The other run may have created the job just now.
        self._visible_by = self.settings.clock.now() + _VISIBILITY_DELAY * self.settings.pacing.scale
        self._next(State.INSPECTING)
        return True

    def _create_again(self) -> None:
        """Calls Create again. The first call may have created the job, which may now fill the quota itself."""
        self._create(refused=self._confirm_refusal, in_use=State.CONFIRMING)

    def _create(self, refused: Callable[[Refused], None], in_use: State) -> None:
        self._visible_by = self.settings.clock.now() + _VISIBILITY_DELAY * self.settings.pacing.scale
        try:
            self.calls(self.settings.kind.create(self.settings.sagemaker), **self._request)
        except InUse as refusal:
            self._refusal = refusal
            self._next(in_use)
        except Refused as refusal:
            refused(refusal)
        else:
            self._start_watch("created")

    def _confirm_refusal(self, refusal: Refused) -> None:
        self._refusal = refusal
        self._next(State.CONFIRMING)

    def _handle_refusal(self, refusal: Refused) -> None:
        """Plans another Create after a refused one, perhaps with another instance type, or raises."""
        self.machine.enter(State.PREPARING)
        self._visible_by = self.settings.clock.now()
        if isinstance(refusal, QuotaReached):
            wait, ending = self.choices.after_quota(refusal.message), Ending.QUOTA
        elif isinstance(refusal, NoCapacity):
            wait, ending = self.choices.after_capacity(), Ending.CAPACITY
        else:
            raise refusal
        message = f"{self.name}: {refusal.message} {self.choices.explanation}"
        if wait is None:
            raise _CannotRun(ending, f"Job {message}")
        self.run.context.log.warning(f"[sagemaker] {message}")
        self._next(State.PREPARING, wait)

    # Jobs that exist already

    def _confirm(self) -> None:
        """Adopts the job if a Create without an answer has created it."""
        try:
            described = self._describe(self.settings.kind)
        except NotFound as unknown:
            self._handle_absence(unknown)
            return
        self._adopt(described)

    def _inspect(self) -> None:
        """Adopts the job of an earlier process if it runs or has results, else plans the next attempt.

        An outdated job, for instance of an older image, is never adopted. It is stopped, because it may write to the same
        outputs.
        """
        outdated, kind = ", ".join(self.attempt.differs(self._digests)), self.settings.kind
        self.machine.enter(State.INSPECTING)
        try:
            described = self._describe(kind)
        except NotFound as unknown:
            if not outdated:
                self._handle_absence(unknown)
                return
            kind, described = self._other_kind()
        ended = outcome(described)
        status = kind.status(described) if described else ""
        if not described and self.settings.clock.now() < self._visible_by:
            # The next attempt has another name. It might run beside a job that Describe does not find yet.
            self._next(State.ENDING, _CHECK_INTERVAL * self.settings.pacing.scale)
        elif not described:
            self._plan_attempt()
        elif ended is None and (outdated or status == "Stopping"):
            self._stop_earlier_job(kind, status, outdated)
        elif ended is None or (ended.ending is Ending.COMPLETED and not outdated and not self._is_delivered):
            self._adopt(described)
        else:
            message = f"It differs from the job to run now: {outdated}."
            self._plan_after(replace(ended, reason=message) if outdated else ended)

    def _describe(self, kind: Kind) -> Mapping[str, Any]:
        return self.calls(kind.describe(self.settings.sagemaker), **kind.name_parameter(self.name))

    def _other_kind(self) -> tuple[Kind, Mapping[str, Any]]:
        """The job of this name and the other kind. Empty if there is none or this process may not read it."""
        other = TRAINING if self.settings.kind is PROCESSING else PROCESSING
        with suppress(Refused):
            return other, self._describe(other)
        return other, {}

    def _handle_absence(self, unknown: NotFound) -> None:
        """Describe does not find the job. Create's error decides after a pause. After "in use", Describe lags behind."""
        if isinstance(self._refusal, InUse):
            self._absence_timer.put_off(unknown)
            self._next(State.CREATING, self._absence_timer.due - self.settings.clock.now())
        elif self._refusal and self.settings.clock.now() < self._visible_by:
            self._next(State.CONFIRMING, _CHECK_INTERVAL * self.settings.pacing.scale)
        elif self._refusal:
            self._handle_refusal(self._refusal)
        else:
            self._next(State.PREPARING)

    def _stop_earlier_job(self, kind: Kind, status: str, outdated: str) -> None:
        """Stops an outdated job and waits for its end, because it might write beside the next attempt."""
        if status != "Stopping":
            why = f"differs from the job to run now ({outdated})"
            if other := self.run.other_live_run():
                message = f"Job {self.name} is running, but {why}. Run {other} may wait for it: cancel that run, or wait for its end."
                raise _CannotRun(Ending.REFUSED, message)
            self.run.context.log.info(
                f"[sagemaker] {self.name} {why}: stopping it. A new job starts after its end"
            )
            try:
                stop_job(self.calls, self.settings.sagemaker, self.name, [kind])
            except Refused as refusal:
                console = self.settings.links(self.name, kind)["sagemaker/console"].value
                raise _CannotRun(
                    Ending.REFUSED,
                    f"Job {self.name} {why}, is running and cannot be stopped ({refusal.code}: {refusal.message}). "
                    f"Stop it in the console: {console}",
                ) from refusal
        self._next(State.ENDING, _CHECK_INTERVAL * self.settings.pacing.scale)

    def _plan_after(self, ended: Outcome) -> None:
        """Plans the attempt after a job of an earlier process that has no usable results."""
        self.attempt.ended = ended.ending.value
        self.run.context.log.info(
            f"[sagemaker] {self.name} from an earlier execution ended ({ended.ending.value}): starting a new job. {ended.reason}"
        )
        self._plan_attempt(self.choices.after(ended.ending, 0) or 0.0)

    def _adopt(self, described: Mapping[str, Any]) -> None:
        variables, existing = self._pipes_variables(), described.get("Environment") or {}
        if existing and any(existing.get(name) != value for name, value in variables.items()):
            raise _CannotRun(Ending.REFUSED, f"A job {self.name} already exists and belongs to another step")
        self._start_watch(f"adopted, {self.settings.kind.status(described)}", described)

    # While the job runs

    def _start_watch(self, how: str, described: Mapping[str, Any] | None = None) -> None:
        settings, attempt, inbox = self.settings, self.attempt, self.inbox
        if described is not None:
            inbox.progress = self.folder.read_progress(self.run.run_id, attempt.number)
        over = described is not None and outcome(described) is not None
        inspected = self.machine.state is State.INSPECTING
        self.machine.enter(State.READING_EARLIER if inspected and over else State.STARTING)
        market = " (spot)" if attempt.spot else ""
        self.run.report(
            f"[sagemaker] {settings.kind.word} job {attempt.name} {how}; {attempt.instance_type}{market}",
            {"sagemaker/job": attempt.name, **settings.links(attempt.name)},
        )
        arguments = (settings, self.run, self.calls, self.machine, attempt.name, self.job)
        self._watch = Watch(*arguments, inbox, self._label, self._window, self._visible_by)
        if self.job.pipes:
            inbox.report_launched(attempt.name, settings.kind.log_group)
        if described is not None:
            self._watch.handle_description(described)

    @property
    def inbox(self) -> Inbox:
        """The inbox of the current attempt. It always reads from the first message."""
        if self._inbox is None:
            settings = self.settings
            self._inbox = Inbox(
                self.run.context,
                self._extras,
                self.folder,
                self.folder.new_progress(self.run.run_id, self.attempt.number),
                restarts=isinstance(self.job, TrainingJob),
                pipes=self.job.pipes,
                context_injector=settings.context_injector,
                message_reader=settings.message_reader,
            )
        return self._inbox

    def close_inbox(self) -> None:
        if self._inbox:
            self._inbox.close()
        self._inbox = None

    # Ends

    def _handle_end(self, watch: Watch, ended: Outcome) -> None:
        self.attempt.ended = ended.ending.value
        if watch.succeeded:
            self.machine.enter(State.SUCCEEDED)
            self.close_inbox()
            self.invocation = PipesClientCompletedInvocation(watch.inbox.session, self._metadata())
        elif self.machine.state is State.READING_EARLIER:
            self._plan_after(ended)
        elif ended.ending is Ending.COMPLETED:
            self._fail(Ending.SILENT, self._missing_report(watch.inbox))
        else:
            self._after_failure(watch.inbox, ended)

    def _missing_report(self, inbox: Inbox) -> str:
        if inbox.exception:
            return (
                f"Job {self.name} completed with exit code 0, but its Pipes session ended with {inbox.exception}. A failed "
                "program must exit with another code. Catch exceptions that are not failures inside the `with` block."
            )
        if inbox.faults:
            return f"Job {self.name} completed, but {len(inbox.faults)} of its messages cannot be read, the first: {inbox.faults[0]}"
        address = f"{self.folder.address(self.attempt.number)}/messages/"
        why = (
            f"S3 refuses to read its messages: {inbox.denied}"
            if inbox.denied
            else "it sent no `closed` message"
        )
        return (
            f"Job {self.name} completed, but {why}. Its messages are expected at {address}. "
            "It must open Pipes in a `with` block, with PipesS3ContextLoader and PipesS3MessageWriter."
        )

    def _after_failure(self, inbox: Inbox, ended: Outcome) -> None:
        attempts = [attempt for attempt in self.record.attempts if attempt.run_id == self.run.run_id]
        internal = [attempt for attempt in attempts if attempt.ended == Ending.INTERNAL.value]
        wait = self.choices.after(ended.ending, len(internal))
        if wait is not None:
            self.run.context.log.warning(
                f"[sagemaker] {self.name}: {ended.reason} {self.choices.explanation}"
            )
            self._plan_attempt(wait)
            return
        retry = ended.exit_code is not None and ended.exit_code in self.job.retryable_exit_codes
        retry = retry or ended.ending in (Ending.UNKNOWN, Ending.CAPACITY)
        message = explain(self.name, ended, self.attempt.instance_type)
        if inbox.exception:
            message = f"{message.rstrip('.')}. Its Pipes session ended with {inbox.exception}"
        self._fail(ended.ending, message, ended.exit_code, allow_retries=retry)

    def _fail(
        self, ending: Ending, message: str, exit_code: int | None = None, *, allow_retries: bool = False
    ) -> None:
        self.machine.enter(State.FAILED)
        self.close_inbox()
        self.failure = SageMakerJobFailed(
            message,
            ending=ending,
            exit_code=exit_code,
            metadata=self._metadata(),
            allow_retries=allow_retries,
        )
        self._write_record()

    def _job_left_running(self, adopter: str) -> str:
        """A sentence about the job that may still run. Empty if there is none."""
        if self._watch:
            return f" The job was left running; {adopter} adopts it."
        return f" A job of this name may be running; {adopter} adopts it." if self.may_exist else ""

    def _metadata(self) -> dict[str, Any]:
        """Metadata of the job, if there is one, and counts of attempts and AWS calls."""
        settings, waited, attempts = self.settings, self.choices.waited, len(self.record.attempts)
        described = self._watch.described if self._watch else {}
        entries = (
            job_metadata(settings.kind, described, settings.studio_url, settings.prices) if described else {}
        )
        return {
            **entries,
            **({"sagemaker/queue_seconds": round(waited, 1)} if waited else {}),
            **({"sagemaker/attempts": attempts} if attempts > 1 else {}),
            "sagemaker/api_calls": dict(self.calls.counts),
        }

    # Helpers

    def _next(self, state: State, wait: float = 0.0) -> None:
        self.machine.enter(state)
        self._timer.due = self.settings.clock.now() + wait

    def _new_timer(self) -> Timer:
        settings = self.settings
        return Timer(settings.clock, settings.pacing, self.run.context.log.warning, settings.clock.now())

    def _write_record(self) -> None:
        """Writes the record. If that fails, a later process learns the end from Describe."""
        if self.record.attempts:
            try:
                self.folder.update_record(self.record)
            except (Transient, Refused) as error:
                self.run.context.log.warning(f"[sagemaker] the record of {self.key} was not written: {error}")

    @cached_property
    def _job_digests(self) -> dict[str, str]:
        return identity_digests(self.job, self._extras)

    @property
    def _digests(self) -> dict[str, str]:
        return {**self._job_digests, **self.inbox.identity}

    @property
    def _is_delivered(self) -> bool:
        """Whether Dagster already has these results. Then a new execution repeats the work."""
        return bool(self.record.delivered) and self.run.has_results_of(self.record.delivered)

    def _pipes_variables(self) -> Mapping[str, str]:
        return self.inbox.session.get_bootstrap_env_vars() if self.job.pipes else {}
