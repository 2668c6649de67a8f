"""The Pipes session of one attempt. Its messages are read whenever the supervising loop asks: nothing is lost if that dies.

A message reader that was passed to the client reads in its own way instead, usually in a thread.
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
from dagster_sagemaker.folder import Folder, Object, Seen


class SageMakerMessages(PipesContextInjector, PipesMessageReader):
    """The default pair. The client itself writes the context and reads the messages, so this only states where they are."""

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
        """Overrides a property of which Dagster warns that it may change."""
        return 1

    def no_messages_debug_text(self) -> str:
        return "Messages are expected on S3, from a PipesS3MessageWriter that is given to open_dagster_pipes."


class Inbox:
    """Messages come in numbered chunks. A container that SageMaker started again, after a spot interruption, numbers from 1 anew:

    then what the first one reported is forgotten, and its chunks that are not yet written over are no one's. Containers are told
    apart by their name in a chunk's metadata; without one by time, so that a first chunk that is written twice passes for another's.

    `close` must be called in the end. `restarts`: whether SageMaker may start the container again.
    """

    def __init__(
        self,
        context: OpExecutionContext | AssetExecutionContext,
        extras: Mapping[str, Any],
        folder: Folder,
        seen: Seen,
        *,
        restarts: bool,
        pipes: bool = True,
        context_injector: PipesContextInjector | None = None,
        message_reader: PipesMessageReader | None = None,
    ) -> None:
        # The properties of an asset's context that Dagster itself reads are deprecated there.
        self.context = getattr(context, "op_execution_context", context)
        self.folder, self.seen, self.restarts = folder, seen, restarts
        self.faults: list[str] = []
        self.exception = ""
        """What the container told Pipes of as it ended."""
        self.denied = ""
        """What S3 said where it refused to be read; a missing object is refused too without `s3:ListBucket`."""
        self._begun: datetime | None = None
        """When the container that reports had written its first chunk."""
        self._container = ""
        self._next, self._logged = 1, 0
        self._own = SageMakerMessages(folder, seen.attempt)
        self._reader = message_reader
        self._foreign = pipes and (context_injector or message_reader) is not None
        self._stack = ExitStack()
        # A reader counts what it has read: each attempt needs one of its own.
        pair = (context_injector or self._own, copy(message_reader) or self._own)
        self.session = self._open(pair, extras) if pipes else self._unopened(extras)
        self._opening_handler = self.session.message_handler

    def _open(self, pair: tuple[Any, Any], extras: Mapping[str, Any]) -> PipesSession:
        return self._stack.enter_context(open_pipes_session(self.context, *pair, dict(extras)))

    def _unopened(self, extras: Mapping[str, Any]) -> PipesSession:
        """Of a job that does not open Pipes: Dagster would warn that it sends no messages."""
        data = build_external_execution_context_data(self.context, dict(extras))
        return PipesSession(data, PipesMessageHandler(self.context, self._own), {}, {}, self.context)

    @property
    def identity(self) -> dict[str, str]:
        """A digest of the places that a foreign pair has chosen: a job that uses others cannot be adopted. Else empty."""
        if not self._foreign:
            return {}
        places = json.dumps(self.session.get_bootstrap_params(), sort_keys=True, default=str)
        return {"messages": hashlib.sha256(places.encode()).hexdigest()[:16]}

    def report_launched(self, name: str, log_group: str) -> None:
        """Passes to the message reader where the job logs. Its streams are named `<job>/<host>-<number>`."""
        extras = {"job_name": name, "log_group": log_group, "log_stream_prefix": f"{name}/"}
        self.session.report_launched({"extras": extras})

    def finish(self) -> bool:
        """Reads all that is left, once the job is over. A foreign reader may take some seconds. Returns whether there was any."""
        if self._reader:
            self.close()
            return False
        return self.drain()

    def close(self) -> None:
        """Closes the session. Its results remain."""
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
        """Handles every chunk that is there. Returns whether there was one. Raises `Transient`, losing nothing."""
        if self._reader:
            return False
        before = (self._begun, self._next)
        try:
            self._notice_restart()
            while self._read(self._next):
                self._next += 1
        except (NotFound, NotModified):
            pass
        except Refused as refusal:
            self.denied = refusal.message or refusal.code
        return (self._begun, self._next) != before

    def _notice_restart(self) -> None:
        """A first chunk that was written again is another container's. Content tells nothing: both may say `opened` alone."""
        if not self.restarts or self._begun is None:
            return
        try:
            first = self.folder.read_message(self.seen.attempt, 1, since=self._begun)
        except (NotFound, NotModified):
            return
        if first.modified <= self._begun or (first.container and first.container == self._container):
            return
        self.context.log.warning("[sagemaker] the container was started again: its reports begin anew")
        self.session.message_handler = PipesMessageHandler(self.context, self._own)
        self.faults.clear()
        self.exception = ""
        self._begun, self._next, self._logged = None, 1, 0

    def _read(self, number: int) -> bool:
        chunk = self.folder.read_message(self.seen.attempt, number)
        if self._begun is None:
            self._begun, self._container = chunk.modified, chunk.container
            incarnation = chunk.container or chunk.modified.isoformat()
            if self.seen.incarnation != incarnation:
                self.seen.incarnation, self.seen.messages = incarnation, 0
        elif self._is_anothers(chunk, self._begun):
            return False
        for place, line in enumerate(chunk.content.splitlines(), start=1):
            self._handle(line, f"line {place} of message {number}")
        return True

    def _is_anothers(self, chunk: Object, begun: datetime) -> bool:
        if chunk.container and self._container:
            return chunk.container != self._container
        return chunk.modified < begun

    def _handle(self, line: bytes, place: str) -> None:
        """One message. What cannot be read is a fault of the whole job: its report would be short by it."""
        try:
            message = json.loads(line)
            if message["method"] in ("log", "log_external_stream") and self._shown_before():
                return
            self.session.message_handler.handle_message(message)
            if message["method"] == "closed":
                self.exception = _exception(message["params"])
                if self.session.message_handler is not self._opening_handler:
                    # Dagster looks at the first container's handler, and would warn that it was not closed.
                    closed: Any = {**message, "params": {}}
                    self._opening_handler.handle_message(closed)
        except Exception as error:
            text = line[:300].decode(errors="replace")
            self._add_fault(f"{place} cannot be read ({type(error).__name__}: {error}): {text}")

    def _add_fault(self, fault: str) -> None:
        self.context.log.error(f"[sagemaker] {fault}")
        self.faults.append(fault)

    def _shown_before(self) -> bool:
        """Whether this run, before it died, has logged this line."""
        self._logged += 1
        if self._logged <= self.seen.messages:
            return True
        self.seen.messages = self._logged
        return False


def _exception(params: Mapping[str, Any] | None) -> str:
    """Its kind and message, where `closed` tells of one; an exit says nothing that the exit code does not."""
    told = (params or {}).get("exception")
    return told["message"].strip() if told and told["name"] != "SystemExit" else ""
