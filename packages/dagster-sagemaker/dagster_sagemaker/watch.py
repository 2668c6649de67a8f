"""Reads the messages, log lines and status of one job while it runs, and the rest after its end."""

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
from dagster_sagemaker.settings import ClientSettings
from dagster_sagemaker.states import Machine, State

_CLOSE_WAITS = (1.0, 4.5, 12.0)
"""Seconds before the Describe calls after `closed` or an event. Most jobs end at once, some upload first."""
_CLOSING = 15.0
"""Seconds between the Describe calls that follow."""
_EVENT_GRACE = 10.0
"""Seconds to wait for an event after `closed`, before a Describe call."""
_LOG_CALLS = 6
"""Log calls per minute while a job runs. All remaining lines are read after its end."""
_LOG_SETTLE, _LOG_QUIET, _LOG_LATEST = 1.0, 12.0, 30.0
"""Lines arrive late. Seconds from a job's end to the next read, without a new line until complete, and at most."""
_LOG_PAUSE = 60.0
"""Seconds without log calls after CloudWatch has not answered for `retry_patience`."""
_LAST_LINES_TRIES = 8
"""Tries to read the last lines if CloudWatch does not answer."""


class Watch:
    """Watches one job. `outcome` and `described` report how it ended."""

    def __init__(
        self,
        settings: ClientSettings,
        run: StepRun,
        calls: Calls,
        machine: Machine,
        name: str,
        job: Job,
        inbox: Inbox,
        label: str,
        window: Window,
        visible_by: float,
    ) -> None:
        self.visible_by = visible_by
        """Until then SageMaker may not know the job."""
        self.settings, self.calls, self.machine, self.name, self.job = settings, calls, machine, name, job
        self.inbox, self.window, self.clock, self.log = inbox, window, settings.clock, run.context.log
        self.pacing, self.scale = settings.pacing, settings.pacing.scale
        self.follower: LogFollower | None = None
        if settings.logs:
            source = (settings.logs, calls, settings.kind.log_group, name)
            window = self.pacing.window(_LOG_CALLS)
            self.follower = LogFollower(
                *source, job.instance_count, inbox.progress, window, label, link=self._logs_link
            )
        self.described: Mapping[str, Any] = {}
        self.outcome: Outcome | None = None
        self._waits: list[float] = []
        """Seconds before each of the next Describe calls, if the end is near."""
        self.messages = self._timer(self.pacing.messages)
        self.lines = self._timer(self.pacing.logs)
        self.describing = self._timer(self._interval())
        self._changes_logged = 0
        self._over_since, self._last_line_at = 0.0, 0.0
        self._saved = ""

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
        """Does what is due. Returns whether the job has ended and everything is read."""
        now = self.clock.now()
        if self.outcome:
            return self._read_rest(now)
        if self.messages.due <= now and self.messages.attempt(self._read_messages):
            self.messages.due = now + self.pacing.messages
        if self.follower and self.lines.due <= now:
            self._show_new_lines(self.follower, now)
        if self.describing.due <= now:
            self._describe(now)
        return False

    def report_end(self) -> None:
        """Handles an event about the end: calls Describe at once, then at short intervals, because it may lag behind."""
        if self.outcome:
            return
        if not self._waits:
            self.window.allow_one_more()
        self.describing.due, self._waits = self.clock.now(), [*_CLOSE_WAITS, _CLOSING]

    def handle_description(self, described: Mapping[str, Any]) -> None:
        """Logs new statuses of Describe's answer, and notices the end of the job."""
        before = self.settings.kind.status(self.described) if self.described else ""
        self.described = described
        self._log_status_changes(described, before)
        self.outcome = outcome(described)
        if self.outcome:
            if self.machine.state is not State.READING_EARLIER:
                self.machine.enter(State.READING_REST)
            now = self.clock.now()
            self._over_since = self._last_line_at = now - seconds_over(described)
            self.messages.due, self.lines.failures = now, 0
            self.lines.due = max(now, self._over_since + _LOG_SETTLE * self.scale)

    def _timer(self, wait: float) -> Timer:
        return Timer(self.clock, self.pacing, self.log.warning, self.clock.now() + wait)

    def _read_messages(self) -> None:
        was_closed = self.inbox.closed
        if self.inbox.finish() if self.outcome else self.inbox.drain():
            self._save_progress()
        if self.outcome:
            return
        if self.inbox.closed and not was_closed and not self._waits:
            # The container is about to end. An event or a few quick Describe calls report that.
            self._waits = [] if self.settings.has_job_ends else list(_CLOSE_WAITS[1:])
            wait = _EVENT_GRACE if self.settings.has_job_ends else _CLOSE_WAITS[0]
            self.describing.due = self.clock.now() + wait * self.scale
        opened = State.RUNNING if self.inbox.opened else State.STARTING
        self.machine.enter(State.CLOSING if self.inbox.closed else opened)

    def _show_new_lines(self, follower: LogFollower, now: float) -> None:
        """Shows new lines, if the container may have printed any."""

        def look() -> None:
            if follower.look(now):
                self._save_progress()

        if not self.inbox.opened and not (self.described and self.settings.kind.started(self.described)):
            self.lines.due = now + self.pacing.messages
            return
        # Without a free call, `look` would do nothing and count as an answer.
        self.lines.due = follower.window.free_at(now)
        if self.lines.due > now:
            return
        try:
            if self.lines.attempt(look):
                self.lines.due = now + self.pacing.logs
        except Unanswered as error:
            self._warn_about_logs("log lines are delayed", error)
            self.lines.failing_since, self.lines.due = now, now + _LOG_PAUSE * self.scale
        except Refused as refusal:
            self._warn_about_logs("the logs cannot be read", refusal)
            self.follower = None

    def _describe(self, now: float) -> None:
        def describe() -> None:
            kind = self.settings.kind
            try:
                described = self.calls(
                    kind.describe(self.settings.sagemaker), **kind.name_parameter(self.name)
                )
            except NotFound as unknown:
                if now >= self.visible_by:
                    raise
                raise Transient(unknown.operation, unknown.code, unknown.message) from unknown
            self.handle_description(described)

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
            return self.pacing.describe if self.settings.has_job_ends else _CLOSING * self.scale
        if self.settings.has_job_ends:
            return 1.5 * self.pacing.describe
        return self.pacing.describe * (1 if self.inbox.opened else 0.5)

    def _log_status_changes(self, described: Mapping[str, Any], before: str) -> None:
        """Logs each change of status once. Training also lists changes between two Describe calls."""
        steps = described.get("SecondaryStatusTransitions")
        if steps is None:
            status = self.settings.kind.status(described)
            if status != before:
                self.log.info(f"[sagemaker] {self.name}: {status}")
            return
        for step in steps[self._changes_logged :]:
            message = f"[sagemaker] {self.name}: {step['Status']}. {step.get('StatusMessage', '')}"
            self.log.info(message.rstrip())
        self._changes_logged = len(steps)
        if self.follower:
            self.follower.expect_starts(sum(step["Status"] == "Training" for step in steps))

    def _read_rest(self, now: float) -> bool:
        """Reads the remaining messages, then the remaining log lines. Returns whether everything is read."""
        if self.messages.due > now or not self.messages.attempt(self._read_messages):
            return False
        if self.follower and not self._read_last_lines(self.follower, now):
            self.messages.due = self.lines.due
            return False
        self._save_progress()
        return True

    def _read_last_lines(self, follower: LogFollower, now: float) -> bool:
        """Returns True if the lines are complete or CloudWatch refuses them, which does not fail the job."""

        def drain() -> None:
            if follower.drain(now):
                self._last_line_at = now
                self._save_progress()

        if self.lines.due > now:
            return False
        try:
            if self.lines.attempt(drain):
                if follower.has_more:
                    self.lines.due = now
                    return False
                self.lines.due = self._next_look(follower, now)
                if self.lines.due <= now and follower.incomplete:
                    count = f"{len(follower.streams)} of the {follower.expected} containers of {self.name}"
                    self._warn_about_logs(f"{count} have log lines", "the others may have printed nothing")
                return self.lines.due <= now
            if self.lines.failures < _LAST_LINES_TRIES:
                return False
            error: Exception | str = "no answer"
        except (Refused, Unanswered) as refusal:
            error = refusal
        self._warn_about_logs("the last lines are only in CloudWatch", error)
        return True

    def _warn_about_logs(self, what: str, why: Exception | str) -> None:
        self.log.warning(f"[sagemaker] {self.name}: {what} ({why}). See {self._logs_link}")

    @property
    def _logs_link(self) -> str:
        return str(self.settings.links(self.name)["sagemaker/logs"].value)

    def _next_look(self, follower: LogFollower, now: float) -> float:
        """When to read late lines again. A past time means that all lines have probably arrived.

        After a success, waits as long as earlier lines were delayed. After a failure, or if a host has no stream, waits until
        no line has arrived for some seconds: a failure's traceback must not be lost.
        """
        latest = self._over_since + _LOG_LATEST * self.scale
        if self.succeeded and not follower.incomplete:
            return min(self._over_since + 1.2 * follower.lag, latest)
        quiet = min(self._last_line_at + _LOG_QUIET * self.scale, latest)
        between = max(now + _LOG_QUIET / 2 * self.scale, follower.window.free_at(now))
        return min(quiet, between) if quiet > now else quiet

    def _save_progress(self) -> None:
        """Saves the progress for a retry in the same run. If that fails, the retry may show lines again."""
        progress = repr(self.inbox.progress)
        if progress == self._saved:
            return
        try:
            self.inbox.folder.write_progress(self.inbox.progress)
            self._saved = progress
        except (Transient, Refused) as error:
            self.log.warning(f"[sagemaker] the read position of {self.name} was not saved: {error}")
