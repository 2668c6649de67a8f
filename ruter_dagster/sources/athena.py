"""Runs queries in Athena: several side by side, watched with growing pauses, stopped when this process is. What they ask is not its matter."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ruter_dagster.aws.clients import console
from ruter_dagster.aws.errors import code_of, first_line, remedy_of
from ruter_dagster.contracts.errors import PermanentFailure

log = logging.getLogger("ruter_dagster.sources")
_ATTEMPTS = 3
"""Of a query that failed by Athena's own fault."""
_STOPPING_SECONDS = 10
"""How long stopped queries are waited for: less than a stopped job is given to end."""


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks: they grow while nothing happens."""

    first: float = 0.5
    longest: float = 10.0
    growth: float = 1.5


@dataclass(frozen=True)
class Query:
    """What is asked, in words for people, as the SQL of each attempt (1, 2, …), and where Athena may leave its own files.

    An attempt must write where no other did: Athena leaves what a failed one wrote, and refuses to unload beside it.
    """

    about: str
    sql: Callable[[int], str]
    output: str


@dataclass(frozen=True)
class Executed:
    """A query that succeeded."""

    query_id: str
    attempt: int
    link: str
    scanned_bytes: int
    seconds: float


@dataclass
class _Running:
    number: int
    started: float
    attempt: int = 1
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    query_id: str = ""


class Athena:
    """Queries of one workgroup. `time_limit` are the seconds that each may take, waiting for its turn included."""

    def __init__(
        self,
        client: Any,
        region: str,
        *,
        workgroup: str,
        catalog: str,
        database: str,
        time_limit: float,
        pace: Pace | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._region, self._pace, self._sleep = client, region, pace or Pace(), sleep
        self._workgroup, self._time_limit = workgroup, time_limit
        self._context = {"Catalog": catalog, "Database": database}

    def run(self, queries: Sequence[Query], at_once: int) -> list[Executed]:
        """All queries, in order. Where one fails, or this process is stopped, those that run are stopped as well.

        Raises:
            PermanentFailure: a query failed by its own fault, took too long or was stopped by somebody; its id, Athena's
                reason and a link.
            TimeoutError: a query waited for its turn until its time was over: another attempt may find Athena free.
        """
        waiting = deque(_Running(number, 0.0) for number in range(len(queries)))
        running: list[_Running] = []
        done: dict[int, Executed] = {}
        pause = self._pace.first
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    running.append(waiting.popleft())
                    self._start(running[-1], queries[running[-1].number])
                self._sleep(pause)
                looked = [(each, self._look(each, queries[each.number], done)) for each in running]
                moved = any(state != "running" for _, state in looked)
                waiting.extendleft(_again(each) for each, state in looked if state == "again")
                running = [each for each, state in looked if state == "running"]
                pause = self._pace.first if moved else min(pause * self._pace.growth, self._pace.longest)
        except BaseException:
            self._stop(running, queries)
            raise
        return [done[number] for number in range(len(queries))]

    def link(self, query_id: str) -> str:
        """The query in Athena's console."""
        return console(self._region, f"athena/home?region={self._region}#/query-editor/history/{query_id}")

    def _start(self, running: _Running, query: Query) -> None:
        running.started = time.monotonic()
        running.query_id = self._asked(
            query.about, self._client.start_query_execution, **self._request(running, query)
        )
        log.info("%s: Athena query %s", query.about, running.query_id)

    def _request(self, running: _Running, query: Query) -> dict[str, Any]:
        return {
            "QueryString": query.sql(running.attempt),
            "ClientRequestToken": running.token,
            "QueryExecutionContext": self._context,
            "ResultConfiguration": {"OutputLocation": query.output},
            "WorkGroup": self._workgroup,
        }

    def _look(self, running: _Running, query: Query, done: dict[int, Executed]) -> str:
        """What became of a query: `running`, `done`, or `again`."""
        told = self._asked(query.about, self._client.get_query_execution, QueryExecutionId=running.query_id)
        state = told["Status"]["State"]
        if state == "SUCCEEDED":
            done[running.number] = self._executed(running, told.get("Statistics", {}))
            return "done"
        if state in ("QUEUED", "RUNNING"):
            self._check_time(running, query, state)
            return "running"
        if state == "FAILED" and _may_pass(told["Status"]) and running.attempt < _ATTEMPTS:
            log.warning("%s: Athena query %s failed, again: %s", query.about, running.query_id, _reason(told))
            return "again"
        raise PermanentFailure(self._failed(running, query, state, _reason(told)))

    def _check_time(self, running: _Running, query: Query, state: str) -> None:
        if time.monotonic() - running.started <= self._time_limit:
            return
        where = f"{query.about}: Athena query {running.query_id} ({self.link(running.query_id)})"
        if state == "QUEUED":
            raise TimeoutError(
                f"{where} still waited for its turn after {self._time_limit:g} s, and was stopped"
            )
        raise PermanentFailure(
            f"{where} ran for {self._time_limit:g} s, and was stopped. Let it scan less (partitions by date), or raise "
            "time_limit_minutes in the warehouse file."
        )

    def _failed(self, running: _Running, query: Query, state: str, reason: str) -> str:
        what = "was stopped by somebody" if state == "CANCELLED" else "failed"
        remedy = (
            "Run the step again." if state == "CANCELLED" else "Correct the warehouse file, or what it reads."
        )
        return (
            f"{query.about}: Athena query {running.query_id} {what}: {reason}. {remedy} "
            f"In the console: {self.link(running.query_id)}"
        )

    def _executed(self, running: _Running, statistics: dict[str, Any]) -> Executed:
        return Executed(
            running.query_id,
            running.attempt,
            self.link(running.query_id),
            int(statistics.get("DataScannedInBytes", 0)),
            statistics.get("TotalExecutionTimeInMillis", 0) / 1000,
        )

    def _asked(self, about: str, call: Callable[..., Any], **request: Any) -> Any:
        try:
            answer = call(**request)
        except (BotoCoreError, ClientError) as error:
            remedy = remedy_of(error)
            if code_of(error) == "InvalidRequestException":
                remedy = "Correct the warehouse file."
            if remedy is None:
                raise
            raise PermanentFailure(f"{about}: Athena refuses: {first_line(error)}. {remedy}") from error
        return answer.get("QueryExecutionId") or answer["QueryExecution"]

    def _stop(self, running: Sequence[_Running], queries: Sequence[Query]) -> None:
        """Stops queries and waits until they have ended: one that is being stopped may still write, and its files are to be cleared."""
        for each in running:
            with suppress(BotoCoreError, ClientError):
                # Interrupted while it started: the same token tells the same query's id.
                each.query_id = each.query_id or self._client.start_query_execution(
                    **self._request(each, queries[each.number])
                ).get("QueryExecutionId")
                self._client.stop_query_execution(QueryExecutionId=each.query_id)
        until = time.monotonic() + _STOPPING_SECONDS
        with suppress(BotoCoreError, ClientError):
            while time.monotonic() < until and any(map(self._is_under_way, running)):
                self._sleep(self._pace.first)

    def _is_under_way(self, running: _Running) -> bool:
        told = self._client.get_query_execution(QueryExecutionId=running.query_id)
        return told["QueryExecution"]["Status"]["State"] in ("QUEUED", "RUNNING")


def _again(former: _Running) -> _Running:
    return _Running(former.number, 0.0, former.attempt + 1)


def _may_pass(status: dict[str, Any]) -> bool:
    error = status.get("AthenaError", {})
    return bool(error.get("Retryable")) or error.get("ErrorCategory") == 1


def _reason(told: dict[str, Any]) -> str:
    status = told["Status"]
    reason = (
        status.get("StateChangeReason")
        or status.get("AthenaError", {}).get("ErrorMessage")
        or "no reason given"
    )
    return str(reason).strip().rstrip(".")
