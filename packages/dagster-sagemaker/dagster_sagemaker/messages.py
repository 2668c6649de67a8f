"""The Pipes session of one attempt, and its messages on S3.

The supervising loop reads the messages. They stay on S3, so none is lost if its process dies. A custom message reader
reads in its own way, usually in a thread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from datetime import datetime
from typing import Any

from dagster import (
    AssetExecutionContext,
    OpExecutionContext,
    PipesContextInjector,
    PipesMessageHandler,
    PipesMessageReader,
    PipesSession,
    open_pipes_session,
)

from dagster_sagemaker.calls import NotFound, NotModified, Refused
from dagster_sagemaker.compat import build_external_execution_context_data
from dagster_sagemaker.folder import Folder, Progress, S3Object


class SageMakerMessages(PipesContextInjector, PipesMessageReader):
    """The default context injector and message reader. They only name S3 addresses: the client reads and writes."""

    def __init__(self, folder: Folder, attempt: int) -> None:
        self.folder, self.attempt = folder, attempt

    @contextmanager
    def inject_context(self, context_data: Any) -> Iterator[Any]:
        yield self.folder.context_at(self.attempt)

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[Any]:
        yield self.folder.messages_at(self.attempt)

    @property
    def expected_writer_count(self) -> int:
        """Overrides a property that Dagster marks as unstable."""
        return 1

    def no_messages_debug_text(self) -> str:
        return "Messages are expected on S3: pass a PipesS3MessageWriter to open_dagster_pipes."


class Inbox:
    """Reads messages in numbered chunks. Call `close` at the end.

    If SageMaker may restart the container after a spot interruption, `restarts` is true. The new container counts from 1
    again. The inbox then discards all reports of the old one, and ignores its remaining chunks.
    The chunk's metadata names its container. Without a name, a first chunk with a new time counts as a new container.
    """

    def __init__(
        self,
        context: OpExecutionContext | AssetExecutionContext,
        extras: Mapping[str, Any],
        folder: Folder,
        progress: Progress,
        *,
        restarts: bool,
        pipes: bool = True,
        context_injector: PipesContextInjector | None = None,
        message_reader: PipesMessageReader | None = None,
    ) -> None:
        # Dagster reads properties that are deprecated on an asset's context.
        self.context = getattr(context, "op_execution_context", context)
        self.folder, self.progress, self.restarts = folder, progress, restarts
        self.faults: list[str] = []
        self.exception = ""
        """The exception that ended the container's Pipes session. Empty if there was none."""
        self.denied = ""
        """S3's error if it refused a read. Without `s3:ListBucket`, it also refuses a missing object."""
        self._first_chunk_time: datetime | None = None
        """When the current container wrote its first chunk."""
        self._container = ""
        self._next, self._logged = 1, 0
        self._default_pair = SageMakerMessages(folder, progress.attempt)
        self._reader = message_reader
        self._custom = pipes and (context_injector or message_reader) is not None
        self._stack = ExitStack()
        # A reader counts what it has read, so each attempt needs a copy.
        pair = (context_injector or self._default_pair, copy(message_reader) or self._default_pair)
        self.session = self._open(pair, extras) if pipes else self._session_without_pipes(extras)
        self._first_handler = self.session.message_handler

    def _open(self, pair: tuple[Any, Any], extras: Mapping[str, Any]) -> PipesSession:
        return self._stack.enter_context(open_pipes_session(self.context, *pair, dict(extras)))

    def _session_without_pipes(self, extras: Mapping[str, Any]) -> PipesSession:
        """Avoids Dagster's warning that no message arrived."""
        data = build_external_execution_context_data(self.context, dict(extras))
        return PipesSession(data, PipesMessageHandler(self.context, self._default_pair), {}, {}, self.context)

    @property
    def identity(self) -> dict[str, str]:
        """A digest of the addresses that a custom pair has chosen, else empty. A job with others cannot be adopted."""
        if not self._custom:
            return {}
        parameters = json.dumps(self.session.get_bootstrap_params(), sort_keys=True, default=str)
        return {"messages": hashlib.sha256(parameters.encode()).hexdigest()[:16]}

    def report_launched(self, name: str, log_group: str) -> None:
        """Gives the message reader the job's log group and prefix. Streams are named `<job>/<host>-<number>`."""
        extras = {"job_name": name, "log_group": log_group, "log_stream_prefix": f"{name}/"}
        self.session.report_launched({"extras": extras})

    def finish(self) -> bool:
        """Reads the rest after the job's end; a custom reader may take seconds. Returns whether there was any."""
        if self._reader:
            self.close()
            return False
        return self.drain()

    def close(self) -> None:
        """Closes the session. Its results stay available."""
        try:
            self._stack.close()
        except Exception as error:
            self._add_fault(f"the message reader failed ({type(error).__name__}: {error})")

    @property
    def opened(self) -> bool:
        return self.session.message_handler.received_opened_message

    @property
    def closed(self) -> bool:
        return self.session.message_handler.received_closed_message

    def drain(self) -> bool:
        """Handles all new chunks. Returns whether there was one. Raises `Transient`; the next call continues."""
        if self._reader:
            return False
        before = (self._first_chunk_time, self._next)
        try:
            self._check_restart()
            while self._read(self._next):
                self._next += 1
        except (NotFound, NotModified):
            pass
        except Refused as refusal:
            self.denied = refusal.message or refusal.code
        return (self._first_chunk_time, self._next) != before

    def _check_restart(self) -> None:
        """Starts anew if another container has overwritten the first chunk. Both chunks may have the same content."""
        if not self.restarts or self._first_chunk_time is None:
            return
        try:
            first = self.folder.read_message(self.progress.attempt, 1, since=self._first_chunk_time)
        except (NotFound, NotModified):
            return
        if first.modified <= self._first_chunk_time or (
            first.container and first.container == self._container
        ):
            return
        self.context.log.warning("[sagemaker] the container was restarted: its earlier reports are discarded")
        self.session.message_handler = PipesMessageHandler(self.context, self._default_pair)
        self.faults.clear()
        self.exception = ""
        self._first_chunk_time, self._next, self._logged = None, 1, 0

    def _read(self, number: int) -> bool:
        chunk = self.folder.read_message(self.progress.attempt, number)
        if self._first_chunk_time is None:
            self._first_chunk_time, self._container = chunk.modified, chunk.container
            incarnation = chunk.container or chunk.modified.isoformat()
            if self.progress.incarnation != incarnation:
                self.progress.incarnation, self.progress.messages = incarnation, 0
        elif self._is_from_another_container(chunk, self._first_chunk_time):
            return False
        for line_number, line in enumerate(chunk.content.splitlines(), start=1):
            self._handle(line, f"line {line_number} of message {number}")
        return True

    def _is_from_another_container(self, chunk: S3Object, first_chunk_time: datetime) -> bool:
        if chunk.container and self._container:
            return chunk.container != self._container
        return chunk.modified < first_chunk_time

    def _handle(self, line: bytes, place: str) -> None:
        """Handles one message. An unreadable one fails the job, because its report would be incomplete."""
        try:
            message = json.loads(line)
            if message["method"] in ("log", "log_external_stream") and self._was_logged():
                return
            self.session.message_handler.handle_message(message)
            if message["method"] == "closed":
                self.exception = _exception(message["params"])
                if self.session.message_handler is not self._first_handler:
                    # Dagster would warn that the handler of the first container was not closed.
                    closed: Any = {**message, "params": {}}
                    self._first_handler.handle_message(closed)
        except Exception as error:
            text = line[:300].decode(errors="replace")
            self._add_fault(f"{place} cannot be read ({type(error).__name__}: {error}): {text}")

    def _add_fault(self, fault: str) -> None:
        self.context.log.error(f"[sagemaker] {fault}")
        self.faults.append(fault)

    def _was_logged(self) -> bool:
        """Whether this run has logged the message in an earlier process."""
        self._logged += 1
        if self._logged <= self.progress.messages:
            return True
        self.progress.messages = self._logged
        return False


def _exception(params: Mapping[str, Any] | None) -> str:
    """Class and message of the exception in `closed`. Empty for SystemExit, which the exit code reports."""
    exception = (params or {}).get("exception")
    return exception["message"].strip() if exception and exception["name"] != "SystemExit" else ""
