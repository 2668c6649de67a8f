"""Runs queries in Athena: several in parallel, polled at growing intervals, and stopped if this process stops.

The SQL of the queries belongs in warehouse_file.py.
"""

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

from ruter_dagster.aws.clients import console_url
from ruter_dagster.aws.errors import code_of, first_line, remedy_of
from ruter_dagster.contracts.errors import PermanentFailure

log = logging.getLogger("ruter_dagster.sources")
_ATTEMPTS = 3
"""Attempts of a query that fails because of an error in Athena itself."""
_STOPPING_SECONDS = 10
"""Longest wait for stopped queries. It is shorter than the time that a stopped job has to end."""


@dataclass(frozen=True)
class PollInterval:
    """Seconds between two polls. The interval grows while no query ends."""

    first: float = 0.5
    max: float = 10.0
    growth: float = 1.5


@dataclass(frozen=True)
class Query:
    """A query: a description for people, the SQL of each attempt (1, 2, …), and the prefix of Athena's own files.

    Each attempt must write to its own prefix. Athena keeps the files of a failed attempt, and refuses to unload beside them.
    """

    description: str
    sql: Callable[[int], str]
    output: str


@dataclass(frozen=True)
class QueryResult:
    """A query that succeeded."""

    query_id: str
    attempt: int
    link: str
    scanned_bytes: int
    seconds: float


@dataclass
class _Running:
    index: int
    started: float
    attempt: int = 1
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    query_id: str = ""


class Athena:
    """Queries of one workgroup. `time_limit` is the longest time of a query in seconds, including its time in Athena's queue."""

    def __init__(
        self,
        client: Any,
        region: str,
        *,
        workgroup: str,
        catalog: str,
        database: str,
        time_limit: float,
        poll_interval: PollInterval | None = None,
    ) -> None:
        self._client, self._region, self._poll_interval = client, region, poll_interval or PollInterval()
        self._workgroup, self._time_limit = workgroup, time_limit
        self._context = {"Catalog": catalog, "Database": database}

    def run(self, queries: Sequence[Query], max_parallel: int) -> list[QueryResult]:
        """Runs all queries and returns their results in order. If one fails, or this process stops, the others are stopped.

        Raises:
            PermanentFailure: A query is wrong, took too long or was stopped in Athena. The message has its id, the reason and a link.
            TimeoutError: A query stayed in Athena's queue for the whole time limit. A retry may succeed.
        """
        waiting = deque(_Running(index, 0.0) for index in range(len(queries)))
        running: list[_Running] = []
        done: dict[int, QueryResult] = {}
        pause = self._poll_interval.first
        try:
            while waiting or running:
                while waiting and len(running) < max_parallel:
                    running.append(waiting.popleft())
                    self._start(running[-1], queries[running[-1].index])
                time.sleep(pause)
                states = [(query, self._poll(query, queries[query.index], done)) for query in running]
                has_changed = any(state != "running" for _, state in states)
                waiting.extendleft(_next_attempt(query) for query, state in states if state == "retry")
                running = [query for query, state in states if state == "running"]
                pause = (
                    self._poll_interval.first
                    if has_changed
                    else min(pause * self._poll_interval.growth, self._poll_interval.max)
                )
        except BaseException:
            self._stop(running, queries)
            raise
        return [done[index] for index in range(len(queries))]

    def link(self, query_id: str) -> str:
        """Address of a query in the AWS console."""
        return console_url(
            self._region, f"athena/home?region={self._region}#/query-editor/history/{query_id}"
        )

    def _start(self, running: _Running, query: Query) -> None:
        running.started = time.monotonic()
        running.query_id = self._call(
            query.description, self._client.start_query_execution, **self._request(running, query)
        )
        log.info("%s: Athena query %s", query.description, running.query_id)

    def _request(self, running: _Running, query: Query) -> dict[str, Any]:
        return {
            "QueryString": query.sql(running.attempt),
            "ClientRequestToken": running.token,
            "QueryExecutionContext": self._context,
            "ResultConfiguration": {"OutputLocation": query.output},
            "WorkGroup": self._workgroup,
        }

    def _poll(self, running: _Running, query: Query, done: dict[int, QueryResult]) -> str:
        """The state of a query: `running`, `done` or `retry`. Adds a finished query to `done`."""
        execution = self._call(
            query.description, self._client.get_query_execution, QueryExecutionId=running.query_id
        )
        state = execution["Status"]["State"]
        if state == "SUCCEEDED":
            done[running.index] = self._result(running, execution.get("Statistics", {}))
            return "done"
        if state in ("QUEUED", "RUNNING"):
            self._check_time(running, query, state)
            return "running"
        if state == "FAILED" and _is_retryable(execution["Status"]) and running.attempt < _ATTEMPTS:
            log.warning(
                "%s: Athena query %s failed and is retried: %s",
                query.description,
                running.query_id,
                _reason(execution),
            )
            return "retry"
        raise PermanentFailure(self._failure_message(running, query, state, _reason(execution)))

    def _check_time(self, running: _Running, query: Query, state: str) -> None:
        if time.monotonic() - running.started <= self._time_limit:
            return
        prefix = f"{query.description}: Athena query {running.query_id} ({self.link(running.query_id)})"
        if state == "QUEUED":
            raise TimeoutError(f"{prefix} was still queued after {self._time_limit:g} s, and was stopped")
        raise PermanentFailure(
            f"{prefix} ran for {self._time_limit:g} s, and was stopped. Let it scan less data (partition by date), or raise "
            "time_limit_minutes in the warehouse file."
        )

    def _failure_message(self, running: _Running, query: Query, state: str, reason: str) -> str:
        event = "was stopped by a person" if state == "CANCELLED" else "failed"
        remedy = (
            "Run the step again."
            if state == "CANCELLED"
            else "Correct the warehouse file, or the tables that it reads."
        )
        return (
            f"{query.description}: Athena query {running.query_id} {event}: {reason}. {remedy} "
            f"In the console: {self.link(running.query_id)}"
        )

    def _result(self, running: _Running, statistics: dict[str, Any]) -> QueryResult:
        return QueryResult(
            running.query_id,
            running.attempt,
            self.link(running.query_id),
            int(statistics.get("DataScannedInBytes", 0)),
            statistics.get("TotalExecutionTimeInMillis", 0) / 1000,
        )

    def _call(self, description: str, call: Callable[..., Any], **request: Any) -> Any:
        try:
            response = call(**request)
        except (BotoCoreError, ClientError) as error:
            remedy = remedy_of(error)
            if code_of(error) == "InvalidRequestException":
                remedy = "Correct the warehouse file."
            if remedy is None:
                raise
            raise PermanentFailure(f"{description}: Athena refuses: {first_line(error)}. {remedy}") from error
        return response.get("QueryExecutionId") or response["QueryExecution"]

    def _stop(self, running: Sequence[_Running], queries: Sequence[Query]) -> None:
        """Stops queries and waits until they end. A query that is being stopped may still write files, which are deleted later."""
        for query in running:
            with suppress(BotoCoreError, ClientError):
                # If the start was interrupted, a second start with the same token returns the id of the same query.
                query.query_id = query.query_id or self._client.start_query_execution(
                    **self._request(query, queries[query.index])
                ).get("QueryExecutionId")
                self._client.stop_query_execution(QueryExecutionId=query.query_id)
        deadline = time.monotonic() + _STOPPING_SECONDS
        with suppress(BotoCoreError, ClientError):
            while time.monotonic() < deadline and any(map(self._is_running, running)):
                time.sleep(self._poll_interval.first)

    def _is_running(self, running: _Running) -> bool:
        response = self._client.get_query_execution(QueryExecutionId=running.query_id)
        return response["QueryExecution"]["Status"]["State"] in ("QUEUED", "RUNNING")


def _next_attempt(failed: _Running) -> _Running:
    return _Running(failed.index, 0.0, failed.attempt + 1)


def _is_retryable(status: dict[str, Any]) -> bool:
    error = status.get("AthenaError", {})
    return bool(error.get("Retryable")) or error.get("ErrorCategory") == 1


def _reason(execution: dict[str, Any]) -> str:
    status = execution["Status"]
    reason = (
        status.get("StateChangeReason")
        or status.get("AthenaError", {}).get("ErrorMessage")
        or "no reason given"
    )
    return str(reason).strip().rstrip(".")
