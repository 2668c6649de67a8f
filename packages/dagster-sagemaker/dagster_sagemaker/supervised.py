"""One job from its key to its end: launched, watched, judged, tried again as its class of failure allows.

A state machine without waiting: `step` does what is due, `due` says when it wants to be called next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster import PipesClientCompletedInvocation

from dagster_sagemaker.calls import Calls, NotFound, Refused, Transient
from dagster_sagemaker.jobs import Job
from dagster_sagemaker.launch import GivenUp, Launch
from dagster_sagemaker.limits import LimitsExceeded
from dagster_sagemaker.messages import Inbox, context_data
from dagster_sagemaker.metadata import job_metadata
from dagster_sagemaker.outcomes import Ending, Outcome, SageMakerJobFailed, explained, is_over
from dagster_sagemaker.pacing import Unanswered, Window
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker.tools import Tools
from dagster_sagemaker.watch import Watch


class SupervisedJob:
    """Ends with `invocation` or `failure`."""

    def __init__(
        self, tools: Tools, run: StepRun, job: Job, extras: Mapping[str, Any], several: bool
    ) -> None:
        self.tools, self.run, self.job = tools, run, job
        self.key = job.key or run.key
        self.calls = Calls()
        self.launch = Launch(
            tools, run, job, self.key, self.calls, context_data(run.context, {**extras, **job.extras})
        )
        self.invocation: PipesClientCompletedInvocation | None = None
        self.failure: SageMakerJobFailed | None = None
        self._label = f"[{self.key}] " if several else ""
        self._window = Window(tools.pacing.describes_a_minute, tools.pacing.minute)
        self._watch: Watch | None = None

    @property
    def ended(self) -> bool:
        return self.invocation is not None or self.failure is not None

    @property
    def may_exist(self) -> bool:
        """Whether SageMaker may know a job of the present attempt."""
        return self.launch.may_exist

    @property
    def due(self) -> float:
        return self._watch.due if self._watch else self.launch.due

    @property
    def name(self) -> str:
        return self.launch.name

    def step(self) -> None:
        """Does what is due, and sets the job's end where that is an end."""
        try:
            if self._watch:
                self._watch.step()
                if self._watch.outcome and self._watch.finished:
                    self._judge(self._watch, self._watch.outcome)
                return
            self.launch.step()
            if self.launch.there:
                self._start_watch()
        except GivenUp as fault:
            self._fail(fault.ending, str(fault), allow_retries=fault.ending is Ending.CAPACITY)
        except LimitsExceeded as fault:
            self._fail(Ending.REFUSED, str(fault))
        except Unanswered as fault:
            said = f"AWS does not answer: {fault}.{self._left('a retry')}"
            self._fail(Ending.UNKNOWN, said, allow_retries=True)
        except Refused as fault:
            said = f"AWS refuses {fault.operation} of job {self.name}: {fault.code}: {fault.message}"
            said += f" {fault.remedy}" if fault.remedy else ""
            self._fail(Ending.REFUSED, said + self._left("a run from failure"))

    def _left(self, who: str) -> str:
        """What becomes of the job, where there is one."""
        if self._watch:
            return f" The job was left running; {who} adopts it."
        return f" A job of this name may be running; {who} adopts it." if self.may_exist else ""

    def pushed(self) -> None:
        """An event has told that the job is over."""
        if self._watch:
            self._watch.ask_at_once()

    def stop(self) -> bool:
        """Whether the job is stopped, or over; False where that should be tried again."""
        if not self.may_exist or self.ended:
            return True
        kind = self.tools.kind
        try:
            self.calls(kind.stop(self.tools.sagemaker), **kind.named(self.name))
        except (NotFound, Transient):
            return False
        except Refused as refusal:
            self._not_stopped(refusal)
        return True

    def _not_stopped(self, refusal: Refused) -> None:
        if is_over(refusal):
            self.run.context.log.info(f"[sagemaker] {self.name} is over already: {refusal.message}")
            return
        console = self.tools.links(self.name)["sagemaker/console"].value
        self.run.context.log.warning(
            f"[sagemaker] {self.name} may not be stopped ({refusal.code}: {refusal.message}): it is still running, "
            f"and costs. Stop it in the console: {console}"
        )

    def mark_delivered(self) -> None:
        """Notes that this step was given the results; a job that failed has none."""
        if self.invocation is None:
            return
        self.launch.record.delivered = self.run.run_id
        self.launch.note_record()

    def _start_watch(self) -> None:
        launch = self.launch
        self._announce(launch.there)
        self._watch = Watch(
            tools=self.tools,
            calls=self.calls,
            name=launch.name,
            job=self.job,
            inbox=launch.inbox(),
            label=self._label,
            window=self._window,
            log=self.run.context.log,
        )
        if launch.described is not None:
            self._watch.found(launch.described)

    def _announce(self, how: str) -> None:
        """Stands in the run's log with its links."""
        tools, attempt = self.tools, self.launch.attempt
        market = " (spot)" if attempt.spot else ""
        self.run.tell(
            f"[sagemaker] {tools.kind.word} job {attempt.name} {how}; {attempt.instance_type}{market}",
            {"sagemaker/job": attempt.name, **tools.links(attempt.name)},
        )

    # Ends

    def _judge(self, watch: Watch, ended: Outcome) -> None:
        """What follows from the end of the job that was watched."""
        self.launch.attempt.ended = ended.ending.value
        inbox = watch.inbox
        if watch.succeeded:
            self.invocation = PipesClientCompletedInvocation(inbox.session, self._metadata())
        elif self.launch.inherited:
            self._watch = None
            self.launch.anew(ended)
        elif ended.ending is Ending.COMPLETED:
            self._fail(Ending.SILENT, self._silence(inbox))
        else:
            self._after_failure(inbox, ended)

    def _silence(self, inbox: Inbox) -> str:
        """Why a completed job is a failure."""
        if inbox.faults:
            return f"Job {self.name} completed, but {len(inbox.faults)} of its messages cannot be read, the first: {inbox.faults[0]}"
        why = f"S3 refuses to read them: {inbox.denied}" if inbox.denied else "none says `closed`"
        place = f"{self.launch.folder.address(self.launch.attempt.number)}/messages/"
        return (
            f"Job {self.name} completed, but of its messages at {place} {why}. "
            "It must open Pipes in a `with` block, with PipesS3ContextLoader and PipesS3MessageWriter."
        )

    def _after_failure(self, inbox: Inbox, ended: Outcome) -> None:
        launch = self.launch
        ours = [attempt for attempt in launch.record.attempts if attempt.run_id == self.run.run_id]
        internal = [attempt for attempt in ours if attempt.ended == Ending.INTERNAL.value]
        wait = launch.choices.after(ended.ending, len(internal))
        if wait is not None:
            self.run.context.log.warning(f"[sagemaker] {self.name}: {ended.reason} {launch.choices.verdict}")
            self._watch = None
            launch.plan(wait)
            return
        retry = ended.exit_code is not None and ended.exit_code in self.job.retryable_exit_codes
        retry = retry or ended.ending in (Ending.UNKNOWN, Ending.CAPACITY)
        words = explained(self.name, ended, launch.attempt.instance_type)
        if inbox.exception:
            words += f" Its Pipes ended with {inbox.exception}"
        self._fail(ended.ending, words, ended.exit_code, allow_retries=retry)

    def _fail(
        self, ending: Ending, words: str, exit_code: int | None = None, *, allow_retries: bool = False
    ) -> None:
        self.failure = SageMakerJobFailed(
            words, ending=ending, exit_code=exit_code, metadata=self._metadata(), allow_retries=allow_retries
        )
        self.launch.note_record()

    def _metadata(self) -> dict[str, Any]:
        """Of the job where there is one, and of the calls that it took."""
        tools, choices = self.tools, self.launch.choices
        described = self._watch.described if self._watch else {}
        entries = job_metadata(tools.kind, described, tools.studio_url, tools.prices) if described else {}
        waited = {"sagemaker/queue_seconds": round(choices.waited, 1)} if choices.waited else {}
        attempts = len(self.launch.record.attempts)
        return {
            **entries,
            **waited,
            **({"sagemaker/attempts": attempts} if attempts > 1 else {}),
            "sagemaker/api_calls": dict(self.calls.counts),
        }
