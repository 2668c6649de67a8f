"""A job's lines in CloudWatch, shown as they come in Dagster's compute log: each once, from all of its streams."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from dagster_sagemaker.calls import Calls, NotFound, Refused
from dagster_sagemaker.folder import Seen
from dagster_sagemaker.pacing import Window

Line = tuple[int, str]
"""Milliseconds since 1970, text."""


def to_stdout(text: str) -> None:
    """Where Dagster captures a step's compute log."""
    sys.stdout.write(text)
    sys.stdout.flush()


class LogFollower:
    """Streams are named `<job>/<host>-<number>`, the number unknown: they are looked up by prefix until all hosts have one."""

    def __init__(
        self,
        client: Any,
        calls: Calls,
        group: str,
        job_name: str,
        hosts: int,
        seen: Seen,
        window: Window,
        label: str = "",
        write: Callable[[str], None] = to_stdout,
    ) -> None:
        self.client, self.calls, self.group, self.prefix = client, calls, group, f"{job_name}/"
        self.hosts, self.seen, self.window, self.write, self.label = hosts, seen, window, write, label
        self.streams: list[str] = sorted(seen.streams)
        self.wanted = hosts
        self.lag = 0.0
        """How late a line has come to CloudWatch so far, seconds."""
        self._turn = 0
        self._over: set[str] = set()
        """Streams of containers that another one has followed, read to their last line."""

    def expect_starts(self, starts: int) -> None:
        """A container that is started again writes to streams of its own."""
        self.wanted = self.hosts * max(1, starts)

    def look(self, now: float) -> bool:
        """One page of each stream, as far as the calls of this minute reach. Returns whether there was anything to show."""
        lines: list[tuple[str, Line]] = []
        try:
            if self.incomplete and self._may_call(now):
                self._find()
            for _ in range(len(self.streams) - len(self._over)):
                if not self._may_call(now):
                    break
                stream, superseded = self._next()
                page, more = self._page(stream)
                lines += [(stream, line) for line in page]
                if superseded and not more:
                    self._over.add(stream)
        finally:
            self._show(lines)
        return bool(lines)

    @property
    def incomplete(self) -> bool:
        """Whether a host has no stream yet; one that prints nothing never gets one."""
        return len(self.streams) < self.wanted

    def drain(self, now: float) -> bool:
        """Everything that is there, to the last page of each stream; called once the job is over. Whether there was a line."""
        lines: list[tuple[str, Line]] = []
        try:
            if self.incomplete or self.wanted > self.hosts:
                self.window.note(now)
                self._find()
            for stream in self.streams:
                more = True
                while more:
                    self.window.note(now)
                    page, more = self._page(stream)
                    lines += [(stream, line) for line in page]
        finally:
            self._show(lines)
        return bool(lines)

    def _next(self) -> tuple[str, bool]:
        """The next host's stream to read, and whether another follows it: that one waits until the last line of this one."""
        hosts: dict[str, list[str]] = {}
        for stream in self.streams:
            hosts.setdefault(_host(stream), []).append(stream)
        of_host = list(hosts.values())[self._turn % len(hosts)]
        self._turn += 1
        return next(
            ((stream, True) for stream in of_host[:-1] if stream not in self._over), (of_host[-1], False)
        )

    def _may_call(self, now: float) -> bool:
        if self.window.free_at(now) > now:
            return False
        self.window.note(now)
        return True

    def _find(self) -> None:
        found: set[str] = set(self.streams)
        token: dict[str, str] = {}
        try:
            while True:
                answer = self.calls(
                    self.client.describe_log_streams,
                    logGroupName=self.group,
                    logStreamNamePrefix=self.prefix,
                    **token,
                )
                found |= {stream["logStreamName"] for stream in answer["logStreams"]}
                if not answer.get("nextToken"):
                    break
                token = {"nextToken": answer["nextToken"]}
        except NotFound:
            return
        self.streams = sorted(found)

    def _page(self, stream: str) -> tuple[list[Line], bool]:
        """The next page and whether there may be another: an empty page is not the end, the same token again is."""
        state = self.seen.streams.setdefault(stream, {"token": "", "time": 0, "of_time": 0, "again": 0})
        start = {"nextToken": state["token"]} if state["token"] else {}
        try:
            answer = self._events(stream, start)
        except NotFound:
            return [], False
        except Refused as refusal:
            if not state["token"] or "InvalidParameter" not in refusal.code:
                raise
            # Tokens are good for a day: whoever comes later finds the place by time, and passes over what it has shown.
            answer = self._events(stream, {"startTime": state["time"]})
            state |= {"again": state["of_time"], "of_time": 0}
        more = answer["nextForwardToken"] != state["token"]
        state["token"] = answer["nextForwardToken"]
        for event in answer["events"]:
            self.lag = max(self.lag, (event.get("ingestionTime", 0) - event["timestamp"]) / 1000)
        lines = [(event["timestamp"], event["message"]) for event in answer["events"]]
        _remember(state, lines)
        shown_before = min(state["again"], len(lines))
        state["again"] -= shown_before
        return lines[shown_before:], more

    def _events(self, stream: str, start: dict[str, Any]) -> Any:
        """CloudWatch wants `startFromHead` beside a forward token too."""
        place = {"logGroupName": self.group, "logStreamName": stream, "startFromHead": True}
        return self.calls(self.client.get_log_events, **place, **start)

    def _show(self, lines: list[tuple[str, Line]]) -> None:
        """In order of time; with the host's name where there are several."""
        text = []
        for stream, (_, message) in sorted(lines, key=lambda line: line[1][0]):
            host = f"[{_host(stream)}] " if self.hosts > 1 else ""
            text.append(f"{self.label}{host}{message.rstrip()}\n")
        if text:
            self.write("".join(text))


def _remember(state: dict[str, Any], lines: list[Line]) -> None:
    """The time of the last line, and how many of that time were shown."""
    if lines:
        last = lines[-1][0]
        of_time = sum(1 for time, _ in lines if time == last)
        state["of_time"] = of_time + (state["of_time"] if state["time"] == last else 0)
        state["time"] = last


def _host(stream: str) -> str:
    match = re.match(r"(algo-\d+)", stream.rpartition("/")[2])
    return match.group(1) if match else stream.rpartition("/")[2]
