"""The Pipes messages of one attempt, read from S3 whenever the supervising loop asks: no thread, nothing lost when it dies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from dagster import (
    AssetExecutionContext,
    OpExecutionContext,
    PipesMessageHandler,
    PipesMessageReader,
    PipesSession,
)

from dagster_sagemaker.calls import NotFound, NotModified, Refused
from dagster_sagemaker.compat import build_external_execution_context_data
from dagster_sagemaker.folder import Folder, Object, Seen


def context_data(context: OpExecutionContext | AssetExecutionContext, extras: Any) -> Any:
    """What the job is told of its run, and Dagster's own guard that the asset yields what the session reports."""
    if context.has_assets_def:
        context.set_requires_typed_event_stream(
            error_message="Did you forget to `yield from invocation.get_results()` or to return them?"
        )
    return build_external_execution_context_data(context, extras)


class _Reader(PipesMessageReader):
    """Stands for the inbox where Dagster's handler wants a reader; reading itself is the inbox's."""

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[Any]:
        yield {}

    def no_messages_debug_text(self) -> str:
        return "Messages are expected on S3, from a PipesS3MessageWriter that is given to open_dagster_pipes."


class Inbox:
    """Messages come in numbered chunks. A container that SageMaker started again, after a spot interruption, numbers from 1 anew:

    then what the first one reported is forgotten, and its chunks that are not yet written over are no one's. Containers are told
    apart by their name in a chunk's metadata; without one by time, so that a first chunk that is written twice passes for another's.
    """

    def __init__(
        self,
        context: OpExecutionContext | AssetExecutionContext,
        data: Any,
        folder: Folder,
        seen: Seen,
        restarts: bool,
    ) -> None:
        self.context, self.folder, self.seen, self.restarts = context, folder, seen, restarts
        self.faults: list[str] = []
        self.exception = ""
        """What the container told Pipes of as it ended."""
        self.denied = ""
        """What S3 said where it refused to be read; a missing object is refused too without `s3:ListBucket`."""
        self._begun: datetime | None = None
        """When the container that reports had written its first chunk."""
        self._container = ""
        self._next, self._logged = 1, 0
        self.session = PipesSession(
            context_data=data,
            message_handler=PipesMessageHandler(context, _Reader()),
            context_injector_params=folder.context_at(seen.attempt),
            message_reader_params=folder.messages_at(seen.attempt),
            context=context,
        )

    @property
    def opened(self) -> bool:
        return self.session.message_handler.received_opened_message

    @property
    def closed(self) -> bool:
        return self.session.message_handler.received_closed_message

    def drain(self) -> bool:
        """Handles every chunk that is there. Returns whether there was one. Raises `Transient`, losing nothing."""
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
        self.session.message_handler = PipesMessageHandler(self.context, _Reader())
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
        except Exception as error:
            fault = f"{place} cannot be read ({type(error).__name__}: {error}): {line[:300].decode(errors='replace')}"
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
