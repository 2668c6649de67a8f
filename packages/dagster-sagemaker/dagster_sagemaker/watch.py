"""One attempt while it runs and as it ends: when to look at messages, logs and Describe, within the calls a minute allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dagster_sagemaker.calls import Calls, Refused, Transient
from dagster_sagemaker.jobs import Job
from dagster_sagemaker.logs import LogFollower
from dagster_sagemaker.messages import Inbox
from dagster_sagemaker.outcomes import Ending, Outcome, outcome, seconds_over
from dagster_sagemaker.pacing import Timer, Unanswered, Window
from dagster_sagemaker.tools import Tools

_LAST_LINES_TRIES = 8
"""How often the logs of a finished job are asked for where CloudWatch does not answer."""


class Log(Protocol):
    """The part of Dagster's logger that is used here."""

    def info(self, msg: str) -> None: ...
    def warning(self, msg: str) -> None: ...


class Watch:
    """Ends with `finished`: then `outcome` and `described` tell how, every message is handled and every log line shown."""

    def __init__(
        self,
        *,
        tools: Tools,
        calls: Calls,
        name: str,
        job: Job,
        inbox: Inbox,
        label: str,
        window: Window,
        log: Log,
    ) -> None:
        self.kind, self.sagemaker, self.calls, self.name = tools.kind, tools.sagemaker, calls, name
        self.pipes, self.logs_link = job.pipes, tools.links(name)["sagemaker/logs"].value
        self.pushed, self.window = tools.pushed, window
        self.pacing, self.clock, self.log, self.inbox = tools.pacing, tools.clock, log, inbox
        pacing, clock = tools.pacing, tools.clock
        self.follower: LogFollower | None = None
        if tools.logs:
            budget = Window(pacing.logs_a_minute, pacing.minute)
            place = (tools.logs, calls, tools.kind.log_group, name)
            self.follower = LogFollower(*place, job.instance_count, inbox.seen, budget, label)
        self.described: Mapping[str, Any] = {}
        self.outcome: Outcome | None = None
        self.finished = False
        now = clock.now()
        self.messages = Timer(clock, pacing, log.warning, now + pacing.messages)
        self.lines = Timer(clock, pacing, log.warning, now + pacing.logs)
        self._closing, self._urgent, self._announced = 0, False, False
        self.asking = Timer(clock, pacing, log.warning, now + self._interval())
        self._steps_told = 0
        self._over_since, self._last_line_at = 0.0, 0.0
        self._noted = ""

    @property
    def succeeded(self) -> bool:
        """Whether the job completed and, where it opens Pipes, has reported to the end."""
        completed = self.outcome is not None and self.outcome.ending is Ending.COMPLETED
        return completed and (not self.pipes or (self.inbox.closed and not self.inbox.faults))

    @property
    def due(self) -> float:
        if self.outcome:
            return self.messages.due
        return min(self.messages.due, self.asking.due, self.lines.due if self.follower else self.asking.due)

    def step(self) -> None:
        """Does what is due."""
        if self.outcome:
            self._finish()
            return
        now = self.clock.now()
        if self.messages.due <= now and self.messages.attempt(self._read_messages):
            self.messages.due = now + self.pacing.messages
        if self.follower and self.lines.due <= now:
            if self._may_print():
                self._follow(self.follower, now)
            else:
                self.lines.due = now + self.pacing.messages
        if self.asking.due <= now:
            self._ask(now)

    def ask_at_once(self) -> None:
        """An event has told of the job's end; Describe is the truth, and may lag: it is asked whatever this minute has had of it,
        but once, and then closely for a while."""
        self.asking.due = self.clock.now()
        self._urgent = not self._announced
        self._announced, self._closing = True, 0

    def found(self, described: Mapping[str, Any]) -> None:
        """Takes an answer of Describe in: tells what is new in it, and judges it."""
        before = self.kind.status(self.described) if self.described else ""
        self.described = described
        self._tell_steps(described, before)
        self.outcome = outcome(described)
        if self.outcome:
            self._over_since = self._last_line_at = self.clock.now() - seconds_over(described)
            self.messages.due = self.clock.now()
            self.lines.failures = 0
            self.lines.due = max(self.clock.now(), self._over_since + self.pacing.log_settle)

    def _read_messages(self) -> None:
        was_closed = self.inbox.closed
        if self.inbox.drain():
            self._remember()
        if self.inbox.closed and not was_closed and not self._announced:
            # The container is about to end: by events or by a few Describes close together this is known at once.
            wait = self.pacing.events_grace if self.pushed else self.pacing.describe_closing[0]
            self._closing = 1
            self.asking.due = self.clock.now() + wait

    def _may_print(self) -> bool:
        return self.inbox.opened or (bool(self.described) and self.kind.started(self.described))

    def _follow(self, follower: LogFollower, now: float) -> None:
        def look() -> None:
            if follower.look(now):
                self._remember()

        # A look without a call would pass for an answer.
        self.lines.due = follower.window.free_at(now)
        if self.lines.due > now:
            return
        try:
            if self.lines.attempt(look):
                self.lines.due = now + self.pacing.logs
        except Unanswered as silence:
            self.log.warning(
                f"[sagemaker] the logs of {self.name} cannot be shown for now, see {self.logs_link}: {silence}"
            )
            self.lines.failing_since, self.lines.due = now, now + self.pacing.retry_longest
        except Refused as refusal:
            self.log.warning(f"[sagemaker] the logs of {self.name} cannot be followed: {refusal}")
            self.follower = None

    def _ask(self, now: float) -> None:
        free = self.window.free_at(now)
        if free > now and not self._urgent:
            self.asking.due = free
            return

        def describe() -> None:
            self.found(self.calls(self.kind.describe(self.sagemaker), **self.kind.named(self.name)))

        self.window.note(now)
        self._urgent = False
        if self.asking.attempt(describe):
            self.asking.due = now + self._interval()

    def _interval(self) -> float:
        """Until the next Describe."""
        if self._announced or (self.inbox.closed and not self.pushed):
            steps = self.pacing.describe_closing
            step = steps[min(self._closing, len(steps) - 1)]
            self._closing += 1
            self._announced = self._announced and self._closing < len(steps)
            return step
        if self.pushed:
            return self.pacing.describe_running if self.inbox.closed else self.pacing.describe_pushed
        return self.pacing.describe_running if self.inbox.opened else self.pacing.describe_starting

    def _tell_steps(self, described: Mapping[str, Any], before: str) -> None:
        """Every change of status is told once; Training lists those between two Describes too."""
        steps = described.get("SecondaryStatusTransitions")
        if steps is None:
            status = self.kind.status(described)
            if status != before:
                self.log.info(f"[sagemaker] {self.name}: {status}")
            return
        for step in steps[self._steps_told :]:
            self.log.info(
                f"[sagemaker] {self.name}: {step['Status']}. {step.get('StatusMessage', '')}".rstrip()
            )
        self._steps_told = len(steps)
        if self.follower:
            self.follower.expect_starts(sum(step["Status"] == "Training" for step in steps))

    def _finish(self) -> None:
        """The job is over: reads what is left of its messages, then of its logs."""
        now = self.clock.now()
        if self.messages.due > now or not self.messages.attempt(self._read_messages):
            return
        if self.follower and not self._read_last_lines(self.follower, now):
            self.messages.due = self.lines.due
            return
        self._remember()
        self.finished = True

    def _read_last_lines(self, follower: LogFollower, now: float) -> bool:
        """Whether the logs are done with. A finished job does not fail for want of them."""
        if self.lines.due > now:
            return False

        def drain() -> None:
            if follower.drain(now):
                self._last_line_at = now

        try:
            if self.lines.attempt(drain):
                self.lines.due = self._next_look(follower, now)
                return self.lines.due <= now and self._told_of_silence(follower)
            if self.lines.failures < _LAST_LINES_TRIES:
                return False
            error: Exception | str = "no answer"
        except (Refused, Unanswered) as refusal:
            error = refusal
        self.log.warning(
            f"[sagemaker] the last log lines of {self.name} are in CloudWatch only, {self.logs_link}: {error}"
        )
        return True

    def _next_look(self, follower: LogFollower, now: float) -> float:
        """When to ask for late lines again; a time that is past where all have come, as far as one can tell.

        A success waits as long as lines have taken so far. A failure's traceback matters more than seconds, and of a host
        without a stream nobody knows how late its lines come: there no line may have come for a while.
        """
        latest = self._over_since + self.pacing.log_latest
        if self.succeeded and not follower.incomplete:
            return min(self._over_since + 1.2 * follower.lag, latest)
        quiet = min(self._last_line_at + self.pacing.log_quiet, latest)
        between = max(now + self.pacing.log_quiet / 2, follower.window.free_at(now))
        return min(quiet, between) if quiet > now else quiet

    def _told_of_silence(self, follower: LogFollower) -> bool:
        if follower.incomplete:
            self.log.warning(
                f"[sagemaker] {len(follower.streams)} of {follower.wanted} log streams of {self.name} have come: "
                f"what the others may hold is in CloudWatch only, {self.logs_link}"
            )
        return True

    def _remember(self) -> None:
        """Notes what was shown, for whoever takes over in the same run. At worst lines are shown again."""
        seen = repr(self.inbox.seen)
        if seen == self._noted:
            return
        try:
            self.inbox.folder.write_seen(self.inbox.seen)
            self._noted = seen
        except (Transient, Refused) as error:
            self.log.warning(f"[sagemaker] what was shown of {self.name} could not be noted: {error}")
