"""Reads messages, logs and Describe of one job while it runs, and what is left of them when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster_sagemaker.calls import Calls, NotFound, Refused, Transient
from dagster_sagemaker.jobs import Job
from dagster_sagemaker.logs import LogFollower
from dagster_sagemaker.messages import Inbox
from dagster_sagemaker.outcomes import Ending, Outcome, outcome, seconds_over
from dagster_sagemaker.pacing import Timer, Unanswered, Window
from dagster_sagemaker.runs import StepRun
from dagster_sagemaker.states import Machine, State
from dagster_sagemaker.tools import Tools

_CLOSE_WAITS = (1.0, 4.5, 12.0)
"""Seconds before the Describe calls after `closed` or an event. Most jobs end at once, others upload first."""
_CLOSING = 15.0
"""Seconds between the Describe calls that follow."""
_EVENT_GRACE = 10.0
"""Seconds that an event may take after `closed`, before a Describe call."""
_LOG_CALLS = 6
"""Log calls a minute while a job runs. All remaining lines are read when it is over."""
_LOG_SETTLE, _LOG_QUIET, _LOG_LATEST = 1.0, 12.0, 30.0
"""Seconds from a job's end to the next read of its logs, without a line until they are complete, and at most: lines come late."""
_LOG_PAUSE = 60.0
_LAST_LINES_TRIES = 8
"""How often CloudWatch is called for the last lines if it does not answer."""


class Watch:
    """`step` returns whether the job is over and all is read; `outcome` and `described` then say how it ended."""

    def __init__(
        self,
        tools: Tools,
        run: StepRun,
        calls: Calls,
        machine: Machine,
        name: str,
        job: Job,
        inbox: Inbox,
        label: str,
        window: Window,
        known_by: float,
    ) -> None:
        self.known_by = known_by
        """Until then SageMaker may not know the job."""
        self.tools, self.calls, self.machine, self.name, self.job = tools, calls, machine, name, job
        self.inbox, self.window, self.clock, self.log = inbox, window, tools.clock, run.context.log
        self.pacing, self.scale = tools.pacing, tools.pacing.scale
        self.follower: LogFollower | None = None
        if tools.logs:
            source = (tools.logs, calls, tools.kind.log_group, name)
            window = self.pacing.window(_LOG_CALLS)
            self.follower = LogFollower(
                *source, job.instance_count, inbox.seen, window, label, link=self._logs_link
            )
        self.described: Mapping[str, Any] = {}
        self.outcome: Outcome | None = None
        self._waits: list[float] = []
        """Waits before the next Describe calls, where an end is near."""
        self.messages = self._timer(self.pacing.messages)
        self.lines = self._timer(self.pacing.logs)
        self.describing = self._timer(self._interval())
        self._steps_logged = 0
        self._over_since, self._last_line_at = 0.0, 0.0
        self._noted = ""

    @property
    def succeeded(self) -> bool:
        """Whether the job completed and, if it opens Pipes, has closed them."""
        completed = self.outcome is not None and self.outcome.ending is Ending.COMPLETED
        reported = self.inbox.closed and not self.inbox.faults and not self.inbox.exception
        return completed and (reported or not self.job.pipes)

    @property
    def due(self) -> float:
        if self.outcome:
            return self.messages.due
        return min(
            self.messages.due, self.describing.due, self.lines.due if self.follower else self.messages.due
        )

    def step(self) -> bool:
        """Does what is due. Returns whether the job is over and all is read."""
        now = self.clock.now()
        if self.outcome:
            return self._collect(now)
        if self.messages.due <= now and self.messages.attempt(self._read_messages):
            self.messages.due = now + self.pacing.messages
        if self.follower and self.lines.due <= now:
            self._follow(self.follower, now)
        if self.describing.due <= now:
            self._describe(now)
        return False

    def report_end(self) -> None:
        """An event reports the end. Describe may lag: it is called at once, whatever this minute had of it, then closely."""
        if self.outcome:
            return
        if not self._waits:
            self.window.allow_one_more()
        self.describing.due, self._waits = self.clock.now(), [*_CLOSE_WAITS, _CLOSING]

    def found(self, described: Mapping[str, Any]) -> None:
        """Takes an answer of Describe: logs what is new in it, and judges it."""
        before = self.tools.kind.status(self.described) if self.described else ""
        self.described = described
        self._log_steps(described, before)
        self.outcome = outcome(described)
        if self.outcome:
            if self.machine.state is not State.HARVESTING:
                self.machine.enter(State.COLLECTING)
            now = self.clock.now()
            self._over_since = self._last_line_at = now - seconds_over(described)
            self.messages.due, self.lines.failures = now, 0
            self.lines.due = max(now, self._over_since + _LOG_SETTLE * self.scale)

    def _timer(self, wait: float) -> Timer:
        return Timer(self.clock, self.pacing, self.log.warning, self.clock.now() + wait)

    def _read_messages(self) -> None:
        was_closed = self.inbox.closed
        if self.inbox.finish() if self.outcome else self.inbox.drain():
            self._remember()
        if self.outcome:
            return
        if self.inbox.closed and not was_closed and not self._waits:
            # The container is about to end: an event or a few Describe calls close together report that at once.
            self._waits = [] if self.tools.pushed else list(_CLOSE_WAITS[1:])
            wait = _EVENT_GRACE if self.tools.pushed else _CLOSE_WAITS[0]
            self.describing.due = self.clock.now() + wait * self.scale
        opened = State.RUNNING if self.inbox.opened else State.STARTING
        self.machine.enter(State.CLOSING if self.inbox.closed else opened)

    def _follow(self, follower: LogFollower, now: float) -> None:
        """Shows new lines, once the container may have printed some."""

        def look() -> None:
            if follower.look(now):
                self._remember()

        if not self.inbox.opened and not (self.described and self.tools.kind.started(self.described)):
            self.lines.due = now + self.pacing.messages
            return
        # A look without a call would pass for an answer.
        self.lines.due = follower.window.free_at(now)
        if self.lines.due > now:
            return
        try:
            if self.lines.attempt(look):
                self.lines.due = now + self.pacing.logs
        except Unanswered as silence:
            self._warn_of_lines("the logs cannot be shown for now", silence)
            self.lines.failing_since, self.lines.due = now, now + _LOG_PAUSE * self.scale
        except Refused as refusal:
            self._warn_of_lines("the logs cannot be followed", refusal)
            self.follower = None

    def _describe(self, now: float) -> None:
        def describe() -> None:
            kind = self.tools.kind
            try:
                described = self.calls(kind.describe(self.tools.sagemaker), **kind.named(self.name))
            except NotFound as unknown:
                if now >= self.known_by:
                    raise
                raise Transient(unknown.operation, unknown.code, unknown.message) from unknown
            self.found(described)

        self.describing.due = self.window.free_at(now)
        if self.describing.due > now:
            return
        self.window.note(now)
        if self.describing.attempt(describe):
            self.describing.due = now + self._interval()

    def _interval(self) -> float:
        """Seconds until the next Describe."""
        if self._waits:
            return self._waits.pop(0) * self.scale
        if self.inbox.closed:
            return self.pacing.describe if self.tools.pushed else _CLOSING * self.scale
        if self.tools.pushed:
            return 1.5 * self.pacing.describe
        return self.pacing.describe * (1 if self.inbox.opened else 0.5)

    def _log_steps(self, described: Mapping[str, Any], before: str) -> None:
        """Logs each change of status once. Training lists those between two Describe calls too."""
        steps = described.get("SecondaryStatusTransitions")
        if steps is None:
            status = self.tools.kind.status(described)
            if status != before:
                self.log.info(f"[sagemaker] {self.name}: {status}")
            return
        for step in steps[self._steps_logged :]:
            words = f"[sagemaker] {self.name}: {step['Status']}. {step.get('StatusMessage', '')}"
            self.log.info(words.rstrip())
        self._steps_logged = len(steps)
        if self.follower:
            self.follower.expect_starts(sum(step["Status"] == "Training" for step in steps))

    def _collect(self, now: float) -> bool:
        """Reads what is left of the messages, then of the log lines. Returns whether all is read."""
        if self.messages.due > now or not self.messages.attempt(self._read_messages):
            return False
        if self.follower and not self._read_last_lines(self.follower, now):
            self.messages.due = self.lines.due
            return False
        self._remember()
        return True

    def _read_last_lines(self, follower: LogFollower, now: float) -> bool:
        """Whether the lines are complete, or CloudWatch does not give them: that is no failure of the job."""

        def drain() -> None:
            if follower.drain(now):
                self._last_line_at = now
                self._remember()

        if self.lines.due > now:
            return False
        try:
            if self.lines.attempt(drain):
                if follower.has_more:
                    self.lines.due = now
                    return False
                self.lines.due = self._next_look(follower, now)
                if self.lines.due <= now and follower.incomplete:
                    came = f"{len(follower.streams)} of the {follower.wanted} containers of {self.name}"
                    self._warn_of_lines(f"{came} have log lines", "the others may have printed nothing")
                return self.lines.due <= now
            if self.lines.failures < _LAST_LINES_TRIES:
                return False
            error: Exception | str = "no answer"
        except (Refused, Unanswered) as refusal:
            error = refusal
        self._warn_of_lines("the last lines are in CloudWatch only", error)
        return True

    def _warn_of_lines(self, what: str, why: Exception | str) -> None:
        self.log.warning(f"[sagemaker] {self.name}: {what} ({why}). See {self._logs_link}")

    @property
    def _logs_link(self) -> str:
        return str(self.tools.links(self.name)["sagemaker/logs"].value)

    def _next_look(self, follower: LogFollower, now: float) -> float:
        """When to read late lines again; a time that is past if all have come, as far as can be known.

        A success waits as long as its lines have taken so far. A failure's traceback matters more than seconds, and nobody
        knows how late the lines of a host without a stream are: there no line may have come for a while.
        """
        latest = self._over_since + _LOG_LATEST * self.scale
        if self.succeeded and not follower.incomplete:
            return min(self._over_since + 1.2 * follower.lag, latest)
        quiet = min(self._last_line_at + _LOG_QUIET * self.scale, latest)
        between = max(now + _LOG_QUIET / 2 * self.scale, follower.window.free_at(now))
        return min(quiet, between) if quiet > now else quiet

    def _remember(self) -> None:
        """Notes what was shown, for a retry in the same run. At worst lines are shown again."""
        seen = repr(self.inbox.seen)
        if seen == self._noted:
            return
        try:
            self.inbox.folder.write_seen(self.inbox.seen)
            self._noted = seen
        except (Transient, Refused) as error:
            self.log.warning(f"[sagemaker] what was shown of {self.name} could not be noted: {error}")
