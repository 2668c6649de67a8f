"""From a key to a job that is there: looked up, adopted or created, and entered in the key's record. Watching it is `supervised.py`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from dagster_sagemaker.calls import Calls, InUse, NoCapacity, NotFound, QuotaReached, Refused, Transient
from dagster_sagemaker.choices import Choices
from dagster_sagemaker.folder import Attempt, Folder, Record, Seen
from dagster_sagemaker.jobs import Job, TrainingJob
from dagster_sagemaker.kinds import PROCESSING, TRAINING, Kind
from dagster_sagemaker.limits import preflight
from dagster_sagemaker.messages import Inbox
from dagster_sagemaker.metadata import links
from dagster_sagemaker.names import folder_name, job_name
from dagster_sagemaker.outcomes import Ending, Outcome, is_over, outcome
from dagster_sagemaker.pacing import Timer
from dagster_sagemaker.requests import identity_digests
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker.tools import Tools


class GivenUp(Exception):
    """No job can be created: there are no instances to be had, or an outdated job may not be stopped."""

    def __init__(self, ending: Ending, words: str) -> None:
        super().__init__(words)
        self.ending = ending


class Launch:
    """`step` does what is due until `there` tells how a job came to be; `plan` and `anew` begin with the next attempt.

    `step` raises `GivenUp`, `LimitsExceeded`, `Refused`, and `Unanswered` after a long time.
    """

    def __init__(
        self, tools: Tools, run: StepRun, job: Job, key: str, calls: Calls, data: Mapping[str, Any]
    ) -> None:
        self.tools, self.run, self.job, self.key, self.calls = tools, run, job, key, calls
        self.folder = Folder(tools.s3, calls, tools.artifacts, run.origin_run, folder_name(key, run.step))
        self.choices = Choices(job, tools.pacing, tools.clock)
        self.record = Record(key)
        self.there = ""
        self.described: Mapping[str, Any] | None = None
        """Describe's answer of a job that was found."""
        self.may_exist = False
        self.inherited = False
        """Whether the job was over, or being stopped, when it was found."""
        self._data = data
        self._timer = Timer(tools.clock, tools.pacing, run.context.log.warning, tools.clock.now())
        self._state: Callable[[], None] = self._look_up
        self._request: dict[str, Any] = {}
        self._seen: Seen | None = None
        self._unsure = False
        """Whether a Create of this attempt went unanswered here."""
        self._in_use = False
        """Whether Create has called the attempt's name taken."""
        self._unseen = Timer(tools.clock, tools.pacing, run.context.log.warning, tools.clock.now())

    @property
    def due(self) -> float:
        return self._timer.due

    @property
    def attempt(self) -> Attempt:
        return self.record.attempts[-1]

    @property
    def name(self) -> str:
        return self.attempt.name if self.record.attempts else self.key

    def step(self) -> None:
        self._timer.attempt(self._state)

    def inbox(self) -> Inbox:
        """A fresh one: messages are always replayed from the first."""
        seen = self._seen or self.folder.unseen(self.run.run_id, self.attempt.number)
        return Inbox(self.run.context, self._data, self.folder, seen, isinstance(self.job, TrainingJob))

    def plan(self, wait: float = 0.0) -> None:
        """The next attempt, on the instance type and the market that are now chosen."""
        number = self.attempt.number + 1 if self.record.attempts else 0
        name = job_name(
            self.key, self.run.origin_run, number, step=self.run.step, prefix=self.tools.name_prefix
        )
        self.record.attempts.append(
            Attempt(number, name, self.choices.instance_type, self.choices.spot, self.run.run_id)
        )
        self._unsure, self._in_use, self.inherited, self.may_exist = False, False, False, False
        self.there, self.described, self._seen, self.record.delivered = "", None, None, ""
        self._unseen.failures = 0
        self._next(self._prepare, wait)

    def anew(self, ended: Outcome) -> None:
        """An earlier supervisor's job that has nothing to give: the next attempt."""
        self.attempt.ended = ended.ending.value
        self.run.context.log.info(
            f"[sagemaker] {self.name} of an earlier execution ended ({ended.ending.value}): launched anew. {ended.reason}"
        )
        wait = self.choices.after(ended.ending, 0)
        self.plan(wait or 0.0)

    def note_record(self) -> None:
        """The record as it now is; whoever comes later finds out by Describe where this fails."""
        if self.record.attempts:
            try:
                self.folder.write_record(self.record)
            except (Transient, Refused) as error:
                self.run.context.log.warning(f"[sagemaker] the record of {self.key} was not written: {error}")

    def _next(self, state: Callable[[], None], wait: float = 0.0) -> None:
        self._state = state
        self._timer.due = self.tools.clock.now() + wait

    def _look_up(self) -> None:
        self.record = self.folder.read_record(self.key)
        if self.record.attempts:
            self.choices.resume(self.attempt)
            self.may_exist = True
            self._next(self._recognise)
        else:
            self.plan()

    def _prepare(self) -> None:
        attempt, kind = self.attempt, self.tools.kind
        attempt.instance_type, attempt.spot = self.choices.instance_type, self.choices.spot
        attempt.made_of = self._made_of
        self._request = kind.request(
            self.job,
            attempt.name,
            attempt.instance_type,
            self._pipes_variables(),
            self.folder.address(attempt.number),
            self.run.tags(self.key),
            attempt.spot,
        )
        preflight(self._request)
        self.folder.write_inputs(attempt.number, self.job, self._data)
        self.folder.write_record(self.record)
        self._next(self._create)

    @cached_property
    def _made_of(self) -> dict[str, str]:
        return identity_digests(self.job, self._data["extras"])

    def _pipes_variables(self) -> Mapping[str, str]:
        return self.inbox().session.get_bootstrap_env_vars() if self.job.pipes else {}

    def _create(self) -> None:
        self.may_exist = True
        try:
            self.calls(self.tools.kind.create(self.tools.sagemaker), **self._request)
        except Transient:
            self._unsure = True
            raise
        except InUse:
            self._in_use = True
            self._next(self._recognise)
        except Refused as refusal:
            if self._unsure:
                # The job that an unanswered Create has made may live, and may be what fills the quota.
                self._next(self._recognise)
            else:
                self._refused(refusal)
        else:
            self.there = "created"

    def _refused(self, refusal: Refused) -> None:
        self.may_exist = False
        if isinstance(refusal, QuotaReached):
            self._not_created(refusal, self.choices.after_quota(refusal.message), Ending.QUOTA)
        elif isinstance(refusal, NoCapacity):
            self._not_created(refusal, self.choices.after_capacity(), Ending.CAPACITY)
        else:
            raise refusal

    def _not_created(self, refusal: Refused, wait: float | None, ending: Ending) -> None:
        """Another Create after a while, on another type perhaps; None is the end of it."""
        said = f"{self.name}: {refusal.message} {self.choices.verdict}"
        if wait is None:
            raise GivenUp(ending, f"Job {said}")
        self.run.context.log.warning(f"[sagemaker] {said}")
        self._next(self._prepare, wait)

    def _recognise(self) -> None:
        """Describes a job of our name: adopts it where it lives or has results to harvest, else launches anew.

        Of a job that is made of something else, an older image say, nothing is taken.
        """
        kind, outdated = self.tools.kind, ", ".join(self.attempt.differs(self._made_of))
        try:
            described = self.calls(kind.describe(self.tools.sagemaker), **kind.named(self.name))
        except NotFound as unknown:
            if outdated:
                self._end_other_kind(outdated)
            else:
                self._not_found(unknown)
            return
        self._check_ours(described)
        ending = outcome(described)
        status = kind.status(described)
        if outdated and ending is None:
            self._stop(kind, status, outdated)
            return
        self.inherited = not self._unsure and (ending is not None or status == "Stopping")
        completed = ending is not None and ending.ending is Ending.COMPLETED
        harvest = completed and not outdated and not self._handed_over()
        if ending is None or harvest or self._unsure:
            self._seen = self.folder.read_seen(self.run.run_id, self.attempt.number)
            self.there, self.described, self.may_exist = f"adopted, {status}", described, True
        else:
            said = f"It differs from what is to run now: {outdated}."
            self.anew(replace(ending, reason=said) if outdated else ending)

    def _end_other_kind(self, outdated: str) -> None:
        """The next attempt, once a job of this name that runs as the other kind is over."""
        other = TRAINING if self.tools.kind is PROCESSING else PROCESSING
        described: Mapping[str, Any] = {}
        with suppress(Refused):  # There is none, or it is a kind that this orchestrator may not touch.
            described = self.calls(other.describe(self.tools.sagemaker), **other.named(self.name))
        if described and outcome(described) is None:
            self._stop(other, other.status(described), outdated)
        else:
            self.plan()

    def _stop(self, kind: Kind, status: str, outdated: str) -> None:
        """Stops a job whose results nobody wants, and looks again until it is over: beside the next attempt it might still write."""
        if status != "Stopping":
            self.run.context.log.info(
                f"[sagemaker] {self.name} differs from what is to run now ({outdated}): it is stopped, and launched anew "
                "once it is over"
            )
            try:
                self.calls(kind.stop(self.tools.sagemaker), **kind.named(self.name))
            except NotFound:
                pass
            except Refused as refusal:
                if not is_over(refusal):
                    said = f"Job {self.name} differs from what is to run now ({outdated}), runs, and may not be stopped"
                    console = links(kind, self.name, self.tools.region)["sagemaker/console"].value
                    told = f"{said} ({refusal.code}: {refusal.message}). Stop it in the console: {console}"
                    raise GivenUp(Ending.REFUSED, told) from refusal
        self._next(self._recognise, self.tools.pacing.describe_closing[-1])

    def _not_found(self, unknown: NotFound) -> None:
        """Create anew; where Create has said that the name is taken, one of the two lags behind: after a while, longer each time."""
        self.may_exist, self._unsure = self._in_use, False
        self._next(self._prepare)
        if self._in_use:
            self._unseen.put_off(unknown)
            self._timer.due = self._unseen.due

    def _check_ours(self, described: Mapping[str, Any]) -> None:
        """A job of another's making may only have our name by force."""
        theirs = described.get("Environment")
        if theirs and any(theirs.get(name) != value for name, value in self._pipes_variables().items()):
            self.may_exist = False
            raise Refused("Create", "ResourceInUse", f"a job {self.name} exists that is not of this step")

    def _handed_over(self) -> bool:
        """Whether Dagster has all of these results already: then whoever asks again wants the work done again."""
        return bool(self.record.delivered) and self.run.recorded(self.record.delivered)
