"""Reports materialisations, checks and log lines of a job to Dagster. Only this module imports dagster_pipes.

Without the variables of Dagster Pipes nothing is sent, so that the same job runs by hand or in a SageMaker Pipeline.
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
"""Id of this container in the metadata of its messages. It separates a repeated message from one of a restarted container."""
MESSAGE_SECONDS = 2.0
"""Messages are collected for this long before they are written to S3 as one object."""


@dataclass(frozen=True)
class DateReport:
    """One partition of a materialisation: number of rows, content version, and numbers that the UI plots over dates."""

    rows: int
    version: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        numbers = {name: _rounded(value) for name, value in self.numbers.items() if value is not None}
        return {"rows": self.rows, "version": self.version} | ({"numbers": numbers} if numbers else {})


@dataclass(frozen=True)
class Reporter:
    """Reports of one job. `pipes` is None outside of Dagster. `assets`: keys of the assets that were reported."""

    pipes: PipesContext | None
    assets: list[str] = field(default_factory=list)

    def materialised(
        self,
        asset: str,
        *,
        dates: Mapping[date, DateReport] | None = None,
        version: str | None = None,
        **metadata: Any,
    ) -> None:
        """Reports a materialisation: by dates, or with one `version` if the asset has no partitions.

        Metadata values are plain JSON values or results of `markdown`, `table`, `link` and `json_value`.
        """
        self.assets.append(asset)
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
        """Reports the result of an asset check. Metadata `judged=False`: not enough data; such a check passes."""
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
    """A link in the UI. An object in S3 links to its page in the AWS console; a file's path is shown as text."""
    url = _in_console(url)
    return {"raw_value": url, "type": "url" if url.startswith("http") else "path"}


def _in_console(url: str) -> str:
    """The AWS console's page of an s3:// address, which no browser opens; other addresses unchanged."""
    if not url.startswith("s3://") or not _is_aws(endpoint_of("s3")):
        return url
    bucket, _, key = url.removeprefix("s3://").partition("/")
    is_file = "." in key.rpartition("/")[2]
    kind, key = ("object", key) if is_file else ("buckets", f"{key.rstrip('/')}/")
    return f"https://console.aws.amazon.com/s3/{kind}/{bucket}?prefix={quote(key)}"


def _is_aws(endpoint: str | None) -> bool:
    """Whether the endpoint belongs to AWS, as one of a VPC does. Other stores with the S3 API have no console."""
    return endpoint is None or "amazonaws.com" in endpoint


def days_value(days: Collection[date]) -> dict[str, Any] | None:
    """Sorted dates as metadata; None if there are none."""
    return json_value([day.isoformat() for day in sorted(days)]) if days else None


def json_value(value: Any) -> dict[str, Any]:
    return {"raw_value": value, "type": "json"}


def table(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Rows with the same keys as a table in the UI; None if there are no rows."""
    if not records:
        return None
    kinds = {bool: "bool", int: "int", float: "float"}
    records = [{name: _rounded(value) for name, value in row.items()} for row in records]
    first = {name: next((row[name] for row in records if row[name] is not None), "") for name in records[0]}
    schema = [{"name": name, "type": kinds.get(type(value), "string")} for name, value in first.items()]
    return {"raw_value": {"records": records, "schema": schema}, "type": "table"}


def _rounded(value: Any) -> Any:
    """A number rounded for people. The tables have all digits."""
    return round(value, 4) if isinstance(value, float) else value


@contextmanager
def reporting(enabled: bool = True) -> Iterator[Reporter]:
    """Opens the connection to Dagster for one job, if Dagster started it and `enabled` is true.

    Raises the error of S3 if the reports cannot be delivered, because Dagster needs them.
    """
    variables = PipesEnvVarParamsLoader()
    if not enabled or not variables.is_dagster_pipes_process():
        yield Reporter(None)
        return
    try:
        with open_dagster_pipes(**_through_s3(variables)) as pipes:
            yield Reporter(pipes)
    finally:
        # The next job of this process needs its own connection.
        PipesContext.set(None)  # pyright: ignore[reportArgumentType]


def _through_s3(variables: PipesEnvVarParamsLoader) -> dict[str, Any]:
    """Arguments that send context and messages through S3, if the variables of Pipes name a bucket; else none."""
    context, messages = variables.load_context_params(), variables.load_messages_params()
    if "bucket" not in context and "bucket" not in messages:
        return {}
    s3 = client("s3")
    loader = {"context_loader": PipesS3ContextLoader(s3)} if "bucket" in context else {}
    return loader | ({"message_writer": S3Messages(s3)} if "bucket" in messages else {})


class S3Messages(PipesS3MessageWriter):
    """Writes messages to S3 as numbered objects below a prefix: every few seconds, and the rest when the job ends."""

    def __init__(self, s3: Any, interval: float = MESSAGE_SECONDS) -> None:
        super().__init__(s3, interval=interval)

    def make_channel(self, params: Mapping[str, Any]) -> _S3Channel:
        return _S3Channel(self._client, params["bucket"], params.get("key_prefix"), interval=self.interval)


class _S3Channel(PipesS3MessageWriterChannel):
    """Repeats a failed write with the same content, so that a number never has two contents."""

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
                log.warning("Messages to Dagster cannot be sent now and are sent again: %s", error)

    def _send(self) -> None:
        self._unsent = self._unsent or "\n".join(json.dumps(message) for message in self.flush_messages())
        if self._unsent:
            self.upload_messages_chunk(StringIO(self._unsent), self._counter)
            self._counter += 1
            self._unsent = ""


def log_to_stdout() -> None:
    """Configures log lines for the terminal, Dagster's compute log and CloudWatch."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("ruter_dagster").setLevel(logging.INFO)
