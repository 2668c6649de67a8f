"""Athena's calls on queries: Start, Get, GetResults and Stop. Moto answers the calls on workgroups."""

from __future__ import annotations

import re
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .application import Answer, answer
from .faults import Faults
from .limits import Refused
from .queries import QueryFailed, Result, Warehouse
from .settings import Settings
from .transfers import bucket_and_key

OPERATIONS = ("StartQueryExecution", "GetQueryExecution", "GetQueryResults", "StopQueryExecution")
QUERY_LIMIT = 262_144
"""Bytes of a query."""
PAGE_ROWS = 1000
"""Rows of an answer of GetQueryResults."""
SYSTEM, USER = 1, 2
"""Categories of an error: Athena's, or the query's."""


@dataclass
class Query:
    """One query. Times are seconds since 1970."""

    id: str
    request: dict[str, Any]
    submitted: float = field(default_factory=time.time)
    state: str = "QUEUED"
    reason: str | None = None
    retryable: bool = False
    started: float | None = None
    ended: float | None = None
    result: Result | None = None
    manifest: str | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def describe(self) -> dict[str, Any]:
        """The QueryExecution of GetQueryExecution."""
        end = self.ended or time.time()
        status = {
            "State": self.state,
            "StateChangeReason": self.reason,
            "SubmissionDateTime": self.submitted,
            "CompletionDateTime": self.ended,
        }
        if self.state == "FAILED":
            status["AthenaError"] = {
                "ErrorCategory": SYSTEM if self.retryable else USER,
                "ErrorMessage": self.reason,
                "Retryable": self.retryable,
            }
        statistics = {
            "DataScannedInBytes": self.result.scanned if self.result else 0,
            "TotalExecutionTimeInMillis": int((end - self.submitted) * 1000),
            "QueryQueueTimeInMillis": int(((self.started or end) - self.submitted) * 1000),
            "EngineExecutionTimeInMillis": int((end - self.started) * 1000) if self.started else 0,
            "DataManifestLocation": self.manifest,
        }
        return {
            "QueryExecutionId": self.id,
            "Query": self.request["QueryString"],
            "StatementType": "DML",
            "ResultConfiguration": self.request.get("ResultConfiguration") or {},
            "QueryExecutionContext": self.request.get("QueryExecutionContext") or {},
            "WorkGroup": self.request.get("WorkGroup") or "primary",
            "Status": {name: value for name, value in status.items() if value is not None},
            "Statistics": {name: value for name, value in statistics.items() if value is not None},
        }


class Athena:
    """A service of the application. Each query runs in a thread."""

    def __init__(self, settings: Settings, faults: Faults, warehouse: Warehouse) -> None:
        self._settings, self._faults, self.warehouse = settings, faults, warehouse
        self._queries: dict[str, Query] = {}
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Cancels all queries, and forgets them and the registered tables."""
        for query in list(self._queries.values()):
            query.stopped.set()
        self._queries.clear()
        self._tokens.clear()
        self.warehouse.tables.clear()

    def owns(self, operation: str, request: dict[str, Any]) -> bool:
        return operation in OPERATIONS

    def answer(self, operation: str, request: dict[str, Any], onward: Callable[[], Answer]) -> Answer:
        if operation == "StartQueryExecution":
            return answer({"QueryExecutionId": self._start(request)})
        query = self._queries.get(request["QueryExecutionId"])
        if query is None:
            raise Refused(
                "InvalidRequestException", f"QueryExecution {request['QueryExecutionId']} was not found"
            )
        if operation == "GetQueryExecution":
            return answer({"QueryExecution": query.describe()})
        if operation == "StopQueryExecution":
            query.stopped.set()
            return answer({})
        return answer(_results(query, request))

    def _start(self, request: dict[str, Any]) -> str:
        """The id of the query. A repeated ClientRequestToken starts no second query."""
        if len(request["QueryString"].encode()) > QUERY_LIMIT:
            raise Refused("InvalidRequestException", f"The query is longer than {QUERY_LIMIT} bytes")
        with self._lock:
            token = request.get("ClientRequestToken") or str(uuid.uuid4())
            if known := self._tokens.get(token):
                return known
            query = Query(str(uuid.uuid4()), request)
            self._tokens[token], self._queries[query.id] = query.id, query
        threading.Thread(target=self._run, args=[query], name=f"query {query.id}", daemon=True).start()
        return query.id

    def _run(self, query: Query) -> None:
        state, reason = "SUCCEEDED", None
        try:
            self._execute(query)
        except QueryFailed as failed:
            state, reason = "FAILED", str(failed)
        except InterruptedError:
            state, reason = "CANCELLED", "Query was cancelled by user"
        except Exception as error:
            traceback.print_exc()
            state, reason = "FAILED", f"GENERIC_INTERNAL_ERROR: {error}"
        query.ended, query.reason = time.time(), reason
        query.state = state

    def _execute(self, query: Query) -> None:
        _wait(query, self._settings.query_queue)
        query.started = time.time()
        query.state = "RUNNING"
        slow = self._faults.take("slow_query")
        _wait(query, slow.seconds if slow else 0)
        self._fail(query, after_effect=False)
        database = (query.request.get("QueryExecutionContext") or {}).get("Database", "default")
        _wait(query, 0)
        result = self.warehouse.run(_with_parameters(query.request), database)
        self._fail(query, after_effect=True)
        location = (query.request.get("ResultConfiguration") or {}).get("OutputLocation")
        if location and result.rows is None:
            query.manifest = f"{location.rstrip('/')}/{query.id}-manifest.csv"
            bucket, key = bucket_and_key(query.manifest)
            self.warehouse.put(bucket, key, "\n".join(result.files))
        _wait(query, 0)
        query.result = result

    def _fail(self, query: Query, after_effect: bool) -> None:
        if fault := self._faults.take("query_failed", after_effect=after_effect):
            query.retryable = after_effect
            raise QueryFailed(fault.message or "GENERIC_INTERNAL_ERROR: injected")


def _wait(query: Query, seconds: float) -> None:
    if query.stopped.wait(timeout=seconds):
        raise InterruptedError


def _with_parameters(request: dict[str, Any]) -> str:
    """The SQL with an execution parameter, which is an SQL literal, in place of each `?` outside of literals."""
    values = iter(request.get("ExecutionParameters") or [])
    return re.sub(
        r"'[^']*'|\?",
        lambda found: next(values, "?") if found[0] == "?" else found[0],
        request["QueryString"],
    )


def _results(query: Query, request: dict[str, Any]) -> dict[str, Any]:
    """A page of a SELECT's rows, everything as text. The first row holds the names of the columns."""
    if query.state != "SUCCEEDED":
        raise Refused("InvalidRequestException", f"Query has not yet finished. Current state: {query.state}")
    frame = query.result.rows if query.result else None
    if frame is None:
        return {"ResultSet": {"Rows": [], "ResultSetMetadata": {"ColumnInfo": []}}}
    start = int(request.get("NextToken") or 0)
    end = start + int(request.get("MaxResults") or PAGE_ROWS)
    rows = [frame.columns, *frame.rows()]
    columns = [{"Name": name, "Type": "varchar"} for name in frame.columns]
    page = [
        {"Data": [{} if cell is None else {"VarCharValue": _text(cell)} for cell in row]}
        for row in rows[start:end]
    ]
    results = {"ResultSet": {"Rows": page, "ResultSetMetadata": {"ColumnInfo": columns}}}
    return results | ({"NextToken": str(end)} if end < len(rows) else {})


def _text(cell: Any) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)
