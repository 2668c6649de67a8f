"""Shows a job's CloudWatch lines in Dagster's compute log, each line once."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from dagster_sagemaker.calls import Calls, NotFound, Refused
from dagster_sagemaker.folder import Progress
from dagster_sagemaker.pacing import Window

_DRAINED_LINES, _LAST_LINES = 20_000, 1_000
"""Lines that are shown after the job's end: at most so many of the next ones, then so many of the last ones."""


class Line(NamedTuple):
    """`time`: milliseconds since 1970."""

    time: int
    host: str
    text: str


def to_stdout(text: str) -> None:
    """Writes to stdout, which Dagster captures as the step's compute log."""
    sys.stdout.write(text)
    sys.stdout.flush()


class LogFollower:
    """Streams are named `<job>/<host>-<number>`. They are looked up by prefix until each host has one."""

    def __init__(
        self,
        client: Any,
        calls: Calls,
        group: str,
        job_name: str,
        hosts: int,
        progress: Progress,
        window: Window,
        label: str = "",
        write: Callable[[str], None] = to_stdout,
        link: str = "",
    ) -> None:
        self.client, self.calls, self.group, self.prefix = client, calls, group, f"{job_name}/"
        self.hosts, self.progress, self.window, self.write = hosts, progress, window, write
        self.label, self.link = label, link
        self.streams: list[str] = sorted(progress.streams)
        self.expected = hosts
        self.lag = 0.0
        """Longest delay of a line in CloudWatch so far, in seconds."""
        self._turn = 0
        self._read_to_end: set[str] = set()
        """Streams of earlier containers of a host that were read to their last line."""
        self._unread: set[str] = set()
        """After the job's end: hosts with unread pages."""
        self._drained = 0

    def expect_starts(self, starts: int) -> None:
        """Sets how often the containers were started. Each start writes to new streams."""
        self.expected = self.hosts * max(1, starts)

    def look(self, now: float) -> bool:
        """Shows one page of each stream, within the calls of this minute. Returns whether there was a line."""
        lines: list[Line] = []
        try:
            if self.incomplete and self._may_call(now):
                self._find()
            by_host = list(self._by_host().values())
            for _ in range(len(self.streams) - len(self._read_to_end)):
                if not self._may_call(now):
                    break
                self._turn += 1
                lines += self._read(by_host[self._turn % len(by_host)])[0]
        finally:
            self._show(lines)
        return bool(lines)

    @property
    def incomplete(self) -> bool:
        """Whether a host has no stream yet. A host that prints nothing never has one."""
        return len(self.streams) < self.expected

    @property
    def has_more(self) -> bool:
        """Whether `drain` must be called again at once."""
        return bool(self._unread)

    def drain(self, now: float) -> bool:
        """Shows the next page of each host after the job's end. Returns whether there was a line.

        After 20,000 lines, it shows only the last 1,000 of each host.
        """
        if not self._unread:
            if self.incomplete or self.expected > self.hosts:
                self.window.note(now)
                self._find()
            self._read_to_end.clear()
            self._unread = set(self._by_host())
        lines: list[Line] = []
        try:
            for host, streams in self._by_host().items():
                if host in self._unread:
                    self.window.note(now)
                    page, more = self._read(streams)
                    lines += page
                    self._unread -= set() if more else {host}
        finally:
            self._show(lines)
            self._drained += len(lines)
        if self._unread and self._drained >= _DRAINED_LINES:
            self._skip()
        return bool(lines)

    def _skip(self) -> None:
        """Shows the last lines of each unread host, and a link to the omitted lines."""
        last: list[Line] = []
        for host, streams in self._by_host().items():
            if host in self._unread:
                stream, before = streams[-1], self._state(streams[-1])["time"]
                answer = self._events(stream, startFromHead=False, limit=_LAST_LINES)
                self._read_to_end |= set(streams[:-1])
                last += [line for line in self._take(stream, answer) if line.time > before]
        self._unread.clear()
        self.write(f"{self.label}[sagemaker] Lines are omitted here. All lines: {self.link}\n")
        self._show(last)

    def _by_host(self) -> dict[str, list[str]]:
        hosts: dict[str, list[str]] = {}
        for stream in self.streams:
            hosts.setdefault(_host(stream), []).append(stream)
        return hosts

    def _read(self, streams: list[str]) -> tuple[list[Line], bool]:
        """The next page of a host, and whether there may be another. Streams are read in order, each to its end."""
        stream = next((stream for stream in streams[:-1] if stream not in self._read_to_end), streams[-1])
        lines, more = self._page(stream)
        if not more and stream != streams[-1]:
            self._read_to_end.add(stream)
            more = True
        return lines, more

    def _may_call(self, now: float) -> bool:
        if self.window.free_at(now) > now:
            return False
        self.window.note(now)
        return True

    def _find(self) -> None:
        streams: set[str] = set(self.streams)
        token: dict[str, str] = {}
        try:
            while True:
                answer = self.calls(
                    self.client.describe_log_streams,
                    logGroupName=self.group,
                    logStreamNamePrefix=self.prefix,
                    **token,
                )
                streams |= {stream["logStreamName"] for stream in answer["logStreams"]}
                if not answer.get("nextToken"):
                    break
                token = {"nextToken": answer["nextToken"]}
        except NotFound:
            return
        self.streams = sorted(streams)

    def _state(self, stream: str) -> dict[str, Any]:
        """CloudWatch's token and the time of the last line that was read."""
        return self.progress.streams.setdefault(stream, {"token": "", "time": 0})

    def _page(self, stream: str) -> tuple[list[Line], bool]:
        """The next page and whether there may be another. A stream ends when CloudWatch returns the same token again."""
        state = self._state(stream)
        token = state["token"]
        try:
            answer = self._events(stream, **({"nextToken": token} if token else {}))
        except NotFound:
            return [], False
        except Refused as refusal:
            if not token or "InvalidParameter" not in refusal.code:
                raise
            # Tokens expire after a day. Then the position is found by time.
            answer = self._events(stream, startTime=state["time"] + 1)
        return self._take(stream, answer), answer["nextForwardToken"] != token

    def _events(self, stream: str, **start: Any) -> Any:
        """Calls GetLogEvents. CloudWatch requires `startFromHead` also with a forward token."""
        parameters = {"logGroupName": self.group, "logStreamName": stream, "startFromHead": True}
        return self.calls(self.client.get_log_events, **{**parameters, **start})

    def _take(self, stream: str, answer: Any) -> list[Line]:
        """Returns the lines of an answer and saves the new position in the stream."""
        state, events = self._state(stream), answer["events"]
        state["token"] = answer["nextForwardToken"]
        for event in events:
            self.lag = max(self.lag, (event.get("ingestionTime", 0) - event["timestamp"]) / 1000)
            state["time"] = event["timestamp"]
        return [Line(event["timestamp"], _host(stream), event["message"]) for event in events]

    def _show(self, lines: list[Line]) -> None:
        """Writes lines in order of time. Adds the host's name if there are several hosts."""
        text = []
        for line in sorted(lines, key=lambda line: line.time):
            host = f"[{line.host}] " if self.hosts > 1 else ""
            text.append(f"{self.label}{host}{line.text.rstrip()}\n")
        if text:
            self.write("".join(text))


def _host(stream: str) -> str:
    match = re.match(r"(algo-\d+)", stream.rpartition("/")[2])
    return match.group(1) if match else stream.rpartition("/")[2]
