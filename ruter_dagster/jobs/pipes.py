"""What a job reports to whoever runs it: materialisations, checks, log lines. The only importer of dagster_pipes.

Without Pipes variables in the environment nothing is sent, so the same job runs by hand or in a SageMaker Pipeline.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from io import StringIO
from threading import Event, Thread
from typing import IO, Any, Literal
from urllib.parse import quote
from uuid import uuid4

from dagster_pipes import (
    PipesContext,
    PipesEnvVarParamsLoader,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    PipesS3MessageWriterChannel,
    open_dagster_pipes,
)

from ruter_dagster.aws.clients import client, endpoint_of

log = logging.getLogger("ruter_dagster.jobs")

CONTAINER = uuid4().hex
"""By this name in its objects' metadata a reader tells one that was written twice from one of a container that was started again."""
MESSAGE_SECONDS = 2.0
"""How long a message waits at most before it goes to S3, those that came meanwhile with it."""


@dataclass(frozen=True)
class DateReport:
    """One partition of a materialisation: its rows, the hash of their content, and numbers that the UI plots over dates."""

    rows: int
    version: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        numbers = {name: _rounded(value) for name, value in self.numbers.items() if value is not None}
        return {"rows": self.rows, "version": self.version} | ({"numbers": numbers} if numbers else {})


@dataclass(frozen=True)
class Reporter:
    """Reports of one job. `pipes` is None outside of Dagster."""

    pipes: PipesContext | None

    def materialised(
        self,
        asset: str,
        *,
        dates: Mapping[date, DateReport] | None = None,
        version: str | None = None,
        **metadata: Any,
    ) -> None:
        """An asset now holds new content: by dates, or one `version` where it has no partitions.

        Metadata values are plain JSON values, or `markdown(…)`, `table(…)`, `link(…)` of this module.
        """
        by_date = {day.isoformat(): part.to_json() for day, part in (dates or {}).items()}
        rows = sum(part.rows for part in (dates or {}).values())
        entries = {"rows": rows, **metadata} if dates is not None else metadata
        log.info("%s materialised: %s", asset, {"dates": len(by_date), "rows": rows} if by_date else version)
        if self.pipes:
            entries = {name: _rounded(value) for name, value in entries.items() if value is not None}
            self.pipes.report_asset_materialization(
                asset_key=asset,
                data_version=version or "by date",
                metadata={**entries, "dates": {"raw_value": by_date, "type": "json"}} if by_date else entries,
            )

    def checked(
        self,
        asset: str,
        name: str,
        passed: bool,
        severity: Literal["ERROR", "WARN"] = "ERROR",
        **metadata: Any,
    ) -> None:
        """The result of one asset check. `judged=False` says that too little is known to judge; such a check passes."""
        if not passed:
            log.warning("%s: check %s %s", asset, name, "failed" if severity == "ERROR" else "warns")
        if self.pipes:
            entries = {key: _rounded(value) for key, value in metadata.items() if value is not None}
            self.pipes.report_asset_check(
                check_name=name, passed=bool(passed), severity=severity, metadata=entries, asset_key=asset
            )


def markdown(text: str) -> dict[str, Any]:
    return {"raw_value": text, "type": "md"}


def link(url: str) -> dict[str, Any]:
    """A link in the UI: of an object in S3, to its page in AWS's console; other places that no browser opens are shown to be copied."""
    url = _in_console(url)
    return {"raw_value": url, "type": "url" if url.startswith("http") else "path"}


def _in_console(url: str) -> str:
    """No browser opens s3:// addresses, nor file: ones from a web page; the console has AWS's objects alone."""
    if not url.startswith("s3://") or not _is_of_aws(endpoint_of("s3")):
        return url
    bucket, _, key = url.removeprefix("s3://").partition("/")
    is_file = "." in key.rpartition("/")[2]
    kind, key = ("object", key) if is_file else ("buckets", f"{key.rstrip('/')}/")
    return f"https://console.aws.amazon.com/s3/{kind}/{bucket}?prefix={quote(key)}"


def _is_of_aws(endpoint: str | None) -> bool:
    """Whether S3 is AWS's own, maybe by an endpoint of a VPC: not another store that speaks S3, nor a double."""
    return endpoint is None or "amazonaws.com" in endpoint


def days_value(days: Collection[date]) -> dict[str, Any] | None:
    """Dates as metadata, in order; None where there is none."""
    return json_value([day.isoformat() for day in sorted(days)]) if days else None


def json_value(value: Any) -> dict[str, Any]:
    return {"raw_value": value, "type": "json"}


def table(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Rows with the same keys as a table in the UI; None where there is no row."""
    if not records:
        return None
    kinds = {bool: "bool", int: "int", float: "float"}
    records = [{name: _rounded(value) for name, value in row.items()} for row in records]
    first = {name: next((row[name] for row in records if row[name] is not None), "") for name in records[0]}
    schema = [{"name": name, "type": kinds.get(type(value), "string")} for name, value in first.items()]
    return {"raw_value": {"records": records, "schema": schema}, "type": "table"}


def _rounded(value: Any) -> Any:
    """A number as a person reads it; the tables hold all of its digits."""
    return round(value, 4) if isinstance(value, float) else value


@contextmanager
def reporting(speaks: bool = True) -> Iterator[Reporter]:
    """Opens the connection to Dagster for the time of one job, if there is one and this host speaks for the job.

    Raises what S3 says where the reports could not be delivered: a job that nobody hears of has not succeeded.
    """
    variables = PipesEnvVarParamsLoader()
    if not speaks or not variables.is_dagster_pipes_process():
        yield Reporter(None)
        return
    try:
        with open_dagster_pipes(**_through_s3(variables)) as pipes:
            yield Reporter(pipes)
    finally:
        # The next job of this process is given a connection of its own, not this one.
        PipesContext.set(None)  # pyright: ignore[reportArgumentType]


def _through_s3(variables: PipesEnvVarParamsLoader) -> dict[str, Any]:
    """Context and messages through S3 where Pipes' variables name a bucket, else as dagster_pipes does by itself."""
    context, messages = variables.load_context_params(), variables.load_messages_params()
    if "bucket" not in context and "bucket" not in messages:
        return {}
    s3 = client("s3")
    loader = {"context_loader": PipesS3ContextLoader(s3)} if "bucket" in context else {}
    return loader | ({"message_writer": S3Messages(s3)} if "bucket" in messages else {})


class S3Messages(PipesS3MessageWriter):
    """Messages as numbered objects below a prefix, soon after they are written, and all of them before it is closed."""

    def __init__(self, s3: Any, interval: float = MESSAGE_SECONDS) -> None:
        super().__init__(s3, interval=interval)

    def make_channel(self, params: Mapping[str, Any]) -> _S3Channel:
        return _S3Channel(self._client, params["bucket"], params.get("key_prefix"), interval=self.interval)


class _S3Channel(PipesS3MessageWriterChannel):
    """An object that could not be written is written again as it was: a reader never sees one number with two contents."""

    _unsent = ""

    @contextmanager
    def buffered_upload_loop(self) -> Iterator[None]:
        closed = Event()
        thread = Thread(target=self._send_until, args=(closed,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            closed.set()
            thread.join()
            while self._unsent or not self._buffer.empty():
                self._send()

    def upload_messages_chunk(self, payload: IO[str], index: int) -> None:
        key = "/".join(part for part in (self._key_prefix, f"{index}.json") if part)
        metadata = {"container": CONTAINER}
        self._client.put_object(Body=payload.read(), Bucket=self._bucket, Key=key, Metadata=metadata)

    def _send_until(self, closed: Event) -> None:
        while not closed.wait(self._interval):
            try:
                self._send()
            except Exception as error:
                log.warning("Messages to Dagster wait, and are sent again: %s", error)

    def _send(self) -> None:
        self._unsent = self._unsent or "\n".join(json.dumps(message) for message in self.flush_messages())
        if self._unsent:
            self.upload_messages_chunk(StringIO(self._unsent), self._counter)
            self._counter += 1
            self._unsent = ""


def log_to_stdout() -> None:
    """Log lines as the local terminal, Dagster's compute log and CloudWatch show them."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("ruter_dagster").setLevel(logging.INFO)
