"""One job from its key to its end: found or created, watched, judged, and tried again if its class of failure allows that."""

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
from dagster_sagemaker.outcomes import Ending, Outcome, SageMakerJobFailed, explained, outcome
from dagster_sagemaker.pacing import Timer, Unanswered
from dagster_sagemaker.requests import create_request, identity_digests, json_extras
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker.states import Machine, State
from dagster_sagemaker.stopping import StopResult, stop_job
from dagster_sagemaker.tools import Tools
from dagster_sagemaker.watch import Watch

_DESCRIBES = 4
"""Describe calls a minute."""
_LOOK = 15.0
"""Seconds between two looks at a job that is ending, or that SageMaker may not know yet."""
_UNKNOWN = 60.0
"""Seconds after a Create in which SageMaker may not know the job yet."""


class _GivenUp(Exception):
    """There will be no job: no instances, a foreign job under its name, or an outdated one that may not be stopped."""

    def __init__(self, ending: Ending, words: str) -> None:
        super().__init__(words)
        self.ending = ending


class SupervisedJob:
    """`step` does what is due and never waits; `due` says when to call it next. Ends with `invocation` or `failure`."""

    def __init__(
        self, tools: Tools, run: StepRun, job: Job, extras: Mapping[str, Any], several: bool
    ) -> None:
        self.tools, self.run, self.job = tools, run, job
        self.key = job.key or run.key
        self.calls, self.machine = Calls(), Machine()
        self.folder = Folder(
            tools.s3, self.calls, tools.artifacts, run.origin_run, folder_name(self.key, run.step)
        )
        self.choices = Choices(job, tools.pacing, tools.clock)
        self.record = Record(self.key)
        self.invocation: PipesClientCompletedInvocation | None = None
        self.failure: SageMakerJobFailed | None = None
        self._extras = json_extras({**extras, **job.extras})
        self._inbox: Inbox | None = None
        self._label = f"[{self.key}] " if several else ""
        self._window = tools.pacing.window(_DESCRIBES)
        self._timer, self._absent = self._new_timer(), self._new_timer()
        self._watch: Watch | None = None
        self._request: dict[str, Any] = {}
        self._known_by = tools.clock.now() + _UNKNOWN * tools.pacing.scale
        """Until then SageMaker may not know a job that exists."""
        self._refusal: Refused | None = None
        """What Create has said of the present attempt, where Describe must tell whether its job exists."""
        self._actions: dict[State, Callable[[], None]] = {
            State.LOOKING_UP: self._look_up,
            State.INSPECTING: self._inspect,
            State.ENDING: self._inspect,
            State.PREPARING: self._prepare,
            State.ASKED: self._ask,
            State.CONFIRMING: self._confirm,
        }

    @property
    def ended(self) -> bool:
        return self.machine.ended

    @property
    def may_exist(self) -> bool:
        """Whether SageMaker may know a job of the present attempt that no end was seen of."""
        return self.machine.may_exist

    @property
    def waits_to_start(self) -> bool:
        """Whether no job exists, and none will before the next step."""
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
        """Does what is due."""
        try:
            if self._watch is None:
                self._timer.attempt(self._actions[self.machine.state])
            elif self._watch.step() and self._watch.outcome:
                self._judge(self._watch, self._watch.outcome)
        except _GivenUp as fault:
            self._fail(fault.ending, str(fault), allow_retries=fault.ending is Ending.CAPACITY)
        except LimitsExceeded as fault:
            self._fail(Ending.REFUSED, str(fault))
        except Unanswered as fault:
            words = f"AWS does not answer: {fault}.{self._left('a retry')}"
            self._fail(Ending.UNKNOWN, words, allow_retries=True)
        except Refused as fault:
            place = (
                f" at s3://{self.folder.bucket}/{self.folder.prefix}"
                if fault.operation in ("GetObject", "PutObject")
                else ""
            )
            words = f"AWS refuses {fault.operation} of job {self.name}{place}: {fault.code}: {fault.message}"
            words += f" {fault.remedy}" if fault.remedy else ""
            self._fail(Ending.REFUSED, words + self._left("a run from failure"))

    def report_end(self) -> None:
        """An event reports that the job is over."""
        if self._watch:
            self._watch.report_end()

    def stop(self) -> bool:
        """Stops the job. Returns False if that should be tried again."""
        try:
            result = stop_job(self.calls, self.tools.sagemaker, self.name, [self.tools.kind])
        except Transient:
            return False
        except Refused as refusal:
            self.run.context.log.warning(
                f"[sagemaker] {self.name} may not be stopped ({refusal.code}: {refusal.message}): it is still running, "
                f"and costs. Stop it in the console: {self.tools.links(self.name)['sagemaker/console'].value}"
            )
            self.machine.enter(State.LEFT)
            return True
        if result is StopResult.UNKNOWN:
            return False
        if result is StopResult.OVER:
            self.run.context.log.info(f"[sagemaker] {self.name} is over already")
        self.machine.enter(State.STOPPED)
        self.close_inbox()
        return True

    def leave(self) -> None:
        """Leaves the job to whoever adopts it."""
        self.machine.enter(State.LEFT)
        self.close_inbox()

    def mark_delivered(self) -> None:
        """Records that this step has received the results; a job that failed has none."""
        if self.invocation is not None:
            self.record.delivered = self.run.run_id
            self._note_record()

    # Before the job runs

    def _look_up(self) -> None:
        self.record = self.folder.read_record(self.key)
        if self.record.attempts:
            self.choices.resume(self.attempt)
            self._next(State.INSPECTING)
        else:
            self._plan()

    def _plan(self, wait: float = 0.0) -> None:
        """The next attempt, on the instance type and the market that are now chosen."""
        number = self.attempt.number + 1 if self.record.attempts else 0
        prefix = self.tools.name_prefix
        name = job_name(self.key, self.run.origin_run, number, step=self.run.step, prefix=prefix)
        chosen = (self.choices.instance_type, self.choices.spot)
        self.record.attempts.append(Attempt(number, name, *chosen, self.run.run_id))
        self.record.delivered, self._absent, self._watch = "", self._new_timer(), None
        self._known_by = self.tools.clock.now()
        self.close_inbox()
        self._next(State.PREPARING, wait)

    def _prepare(self) -> None:
        """Writes the record before Create is called, so that no job is ever unknown."""
        attempt = self.attempt
        attempt.instance_type, attempt.spot = self.choices.instance_type, self.choices.spot
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
        self.folder.write_record(self.record)
        self._next(State.ASKED)
        # S3 has answered: failures of Create are counted, and warned of, from the first.
        self._timer.failures = 0
        unsure = self.tools.clock.now() < self._known_by
        self._create(refused=self._doubt if unsure else self._refused, in_use=State.INSPECTING)

    def _ask(self) -> None:
        """Calls Create again: the first call may have created the job, which may even be what fills the quota."""
        self._create(refused=self._doubt, in_use=State.CONFIRMING)

    def _create(self, refused: Callable[[Refused], None], in_use: State) -> None:
        self._known_by = self.tools.clock.now() + _UNKNOWN * self.tools.pacing.scale
        try:
            self.calls(self.tools.kind.create(self.tools.sagemaker), **self._request)
        except InUse as refusal:
            self._refusal = refusal
            self._next(in_use)
        except Refused as refusal:
            refused(refusal)
        else:
            self._start_watch("created")

    def _doubt(self, refusal: Refused) -> None:
        self._refusal = refusal
        self._next(State.CONFIRMING)

    def _refused(self, refusal: Refused) -> None:
        """No job was created: another Create after a while, on another type perhaps, or none."""
        self.machine.enter(State.PREPARING)
        self._known_by = self.tools.clock.now()
        if isinstance(refusal, QuotaReached):
            wait, ending = self.choices.after_quota(refusal.message), Ending.QUOTA
        elif isinstance(refusal, NoCapacity):
            wait, ending = self.choices.after_capacity(), Ending.CAPACITY
        else:
            raise refusal
        words = f"{self.name}: {refusal.message} {self.choices.verdict}"
        if wait is None:
            raise _GivenUp(ending, f"Job {words}")
        self.run.context.log.warning(f"[sagemaker] {words}")
        self._next(State.PREPARING, wait)

    # Jobs that exist already

    def _confirm(self) -> None:
        """Adopts the job that a Create without an answer has made."""
        try:
            described = self._describe(self.tools.kind)
        except NotFound as unknown:
            self._handle_absence(unknown)
            return
        self._adopt(described)

    def _inspect(self) -> None:
        """Adopts the job of an earlier process if it runs or has results, else plans the next attempt.

        Nothing is taken from an outdated job, of an older image for instance: it is stopped, as its outputs may be shared.
        """
        outdated, kind = ", ".join(self.attempt.differs(self._digests)), self.tools.kind
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
        if not described and self.tools.clock.now() < self._known_by:
            # Under another name the next attempt might run beside a job that SageMaker does not know yet.
            self._next(State.ENDING, _LOOK * self.tools.pacing.scale)
        elif not described:
            self._plan()
        elif ended is None and (outdated or status == "Stopping"):
            self._end_earlier(kind, status, outdated)
        elif ended is None or (ended.ending is Ending.COMPLETED and not outdated and not self._handed_over):
            self._adopt(described)
        else:
            words = f"It differs from what is to run now: {outdated}."
            self._plan_after(replace(ended, reason=words) if outdated else ended)

    def _describe(self, kind: Kind) -> Mapping[str, Any]:
        return self.calls(kind.describe(self.tools.sagemaker), **kind.named(self.name))

    def _other_kind(self) -> tuple[Kind, Mapping[str, Any]]:
        """The job of this name that runs as the other kind; empty if there is none, or this process may not read it."""
        other = TRAINING if self.tools.kind is PROCESSING else PROCESSING
        with suppress(Refused):
            return other, self._describe(other)
        return other, {}

    def _handle_absence(self, unknown: NotFound) -> None:
        """SageMaker does not know the job. What Create has said counts, after a while. If that was "in use", Describe lags behind."""
        if isinstance(self._refusal, InUse):
            self._absent.put_off(unknown)
            self._next(State.ASKED, self._absent.due - self.tools.clock.now())
        elif self._refusal and self.tools.clock.now() < self._known_by:
            self._next(State.CONFIRMING, _LOOK * self.tools.pacing.scale)
        elif self._refusal:
            self._refused(self._refusal)
        else:
            self._next(State.PREPARING)

    def _end_earlier(self, kind: Kind, status: str, outdated: str) -> None:
        """Stops an outdated job, and looks again until it is over: beside the next attempt it might still write."""
        if status != "Stopping":
            why = f"differs from what is to run now ({outdated})"
            if other := self.run.other_live_run():
                words = f"Job {self.name} {why}, and run {other} waits for it. Cancel that run, or wait for its end."
                raise _GivenUp(Ending.REFUSED, words)
            self.run.context.log.info(
                f"[sagemaker] {self.name} {why}: it is stopped, and launched anew once it is over"
            )
            try:
                stop_job(self.calls, self.tools.sagemaker, self.name, [kind])
            except Refused as refusal:
                console = self.tools.links(self.name, kind)["sagemaker/console"].value
                raise _GivenUp(
                    Ending.REFUSED,
                    f"Job {self.name} {why}, runs, and may not be stopped ({refusal.code}: {refusal.message}). "
                    f"Stop it in the console: {console}",
                ) from refusal
        self._next(State.ENDING, _LOOK * self.tools.pacing.scale)

    def _plan_after(self, ended: Outcome) -> None:
        """The attempt after an earlier process's job that has nothing to give."""
        self.attempt.ended = ended.ending.value
        self.run.context.log.info(
            f"[sagemaker] {self.name} of an earlier execution ended ({ended.ending.value}): launched anew. {ended.reason}"
        )
        self._plan(self.choices.after(ended.ending, 0) or 0.0)

    def _adopt(self, described: Mapping[str, Any]) -> None:
        variables, theirs = self._pipes_variables(), described.get("Environment") or {}
        if theirs and any(theirs.get(name) != value for name, value in variables.items()):
            raise _GivenUp(Ending.REFUSED, f"A job {self.name} exists that is not of this step")
        self._start_watch(f"adopted, {self.tools.kind.status(described)}", described)

    # While the job runs

    def _start_watch(self, how: str, described: Mapping[str, Any] | None = None) -> None:
        tools, attempt, inbox = self.tools, self.attempt, self.inbox
        if described is not None:
            inbox.seen = self.folder.read_seen(self.run.run_id, attempt.number)
        over = described is not None and outcome(described) is not None
        inspected = self.machine.state is State.INSPECTING
        self.machine.enter(State.HARVESTING if inspected and over else State.STARTING)
        market = " (spot)" if attempt.spot else ""
        self.run.tell(
            f"[sagemaker] {tools.kind.word} job {attempt.name} {how}; {attempt.instance_type}{market}",
            {"sagemaker/job": attempt.name, **tools.links(attempt.name)},
        )
        made_with = (tools, self.run, self.calls, self.machine, attempt.name, self.job)
        self._watch = Watch(*made_with, inbox, self._label, self._window, self._known_by)
        if self.job.pipes:
            inbox.report_launched(attempt.name, tools.kind.log_group)
        if described is not None:
            self._watch.found(described)

    @property
    def inbox(self) -> Inbox:
        """The present attempt's. Messages are always read from the first."""
        if self._inbox is None:
            tools = self.tools
            self._inbox = Inbox(
                self.run.context,
                self._extras,
                self.folder,
                self.folder.unseen(self.run.run_id, self.attempt.number),
                restarts=isinstance(self.job, TrainingJob),
                pipes=self.job.pipes,
                context_injector=tools.context_injector,
                message_reader=tools.message_reader,
            )
        return self._inbox

    def close_inbox(self) -> None:
        if self._inbox:
            self._inbox.close()
        self._inbox = None

    # Ends

    def _judge(self, watch: Watch, ended: Outcome) -> None:
        """What follows from the end of the job that was watched."""
        self.attempt.ended = ended.ending.value
        if watch.succeeded:
            self.machine.enter(State.SUCCEEDED)
            self.close_inbox()
            self.invocation = PipesClientCompletedInvocation(watch.inbox.session, self._metadata())
        elif self.machine.state is State.HARVESTING:
            self._plan_after(ended)
        elif ended.ending is Ending.COMPLETED:
            self._fail(Ending.SILENT, self._silence(watch.inbox))
        else:
            self._after_failure(watch.inbox, ended)

    def _silence(self, inbox: Inbox) -> str:
        """Why a completed job is a failure."""
        if inbox.exception:
            return (
                f"Job {self.name} completed with exit code 0, but its Pipes ended with {inbox.exception}. A failed program "
                "must exit with another code; an exception that is no failure must be caught inside the `with` block."
            )
        if inbox.faults:
            return f"Job {self.name} completed, but {len(inbox.faults)} of its messages cannot be read, the first: {inbox.faults[0]}"
        why = f"S3 refuses to read them: {inbox.denied}" if inbox.denied else "none says `closed`"
        place = f"{self.folder.address(self.attempt.number)}/messages/"
        return (
            f"Job {self.name} completed, but of its messages at {place} {why}. "
            "It must open Pipes in a `with` block, with PipesS3ContextLoader and PipesS3MessageWriter."
        )

    def _after_failure(self, inbox: Inbox, ended: Outcome) -> None:
        ours = [attempt for attempt in self.record.attempts if attempt.run_id == self.run.run_id]
        internal = [attempt for attempt in ours if attempt.ended == Ending.INTERNAL.value]
        wait = self.choices.after(ended.ending, len(internal))
        if wait is not None:
            self.run.context.log.warning(f"[sagemaker] {self.name}: {ended.reason} {self.choices.verdict}")
            self._plan(wait)
            return
        retry = ended.exit_code is not None and ended.exit_code in self.job.retryable_exit_codes
        retry = retry or ended.ending in (Ending.UNKNOWN, Ending.CAPACITY)
        words = explained(self.name, ended, self.attempt.instance_type)
        if inbox.exception:
            words += f" Its Pipes ended with {inbox.exception}"
        self._fail(ended.ending, words, ended.exit_code, allow_retries=retry)

    def _fail(
        self, ending: Ending, words: str, exit_code: int | None = None, *, allow_retries: bool = False
    ) -> None:
        self.machine.enter(State.FAILED)
        self.close_inbox()
        self.failure = SageMakerJobFailed(
            words, ending=ending, exit_code=exit_code, metadata=self._metadata(), allow_retries=allow_retries
        )
        self._note_record()

    def _left(self, who: str) -> str:
        """What becomes of the job, if there is one."""
        if self._watch:
            return f" The job was left running; {who} adopts it."
        return f" A job of this name may be running; {who} adopts it." if self.may_exist else ""

    def _metadata(self) -> dict[str, Any]:
        """Of the job, if there is one, and of the calls that it took."""
        tools, waited, attempts = self.tools, self.choices.waited, len(self.record.attempts)
        described = self._watch.described if self._watch else {}
        entries = job_metadata(tools.kind, described, tools.studio_url, tools.prices) if described else {}
        return {
            **entries,
            **({"sagemaker/queue_seconds": round(waited, 1)} if waited else {}),
            **({"sagemaker/attempts": attempts} if attempts > 1 else {}),
            "sagemaker/api_calls": dict(self.calls.counts),
        }

    # Helpers

    def _next(self, state: State, wait: float = 0.0) -> None:
        self.machine.enter(state)
        self._timer.due = self.tools.clock.now() + wait

    def _new_timer(self) -> Timer:
        tools = self.tools
        return Timer(tools.clock, tools.pacing, self.run.context.log.warning, tools.clock.now())

    def _note_record(self) -> None:
        """Writes the record as it now is; if that fails, Describe tells whoever comes later."""
        if self.record.attempts:
            try:
                self.folder.write_record(self.record)
            except (Transient, Refused) as error:
                self.run.context.log.warning(f"[sagemaker] the record of {self.key} was not written: {error}")

    @cached_property
    def _job_digests(self) -> dict[str, str]:
        return identity_digests(self.job, self._extras)

    @property
    def _digests(self) -> dict[str, str]:
        return {**self._job_digests, **self.inbox.identity}

    @property
    def _handed_over(self) -> bool:
        """Whether Dagster has these results already: then whoever runs again wants the work done again."""
        return bool(self.record.delivered) and self.run.recorded(self.record.delivered)

    def _pipes_variables(self) -> Mapping[str, str]:
        return self.inbox.session.get_bootstrap_env_vars() if self.job.pipes else {}
