"""Reads the report of a local job, sent through Dagster Pipes, from a file after the job has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import PipesMessageHandler, PipesMessageReader


class FileMessages(PipesMessageReader):
    """A file with one JSON message per line. It is read when the Pipes session closes.

    Dagster's own file reader reads while the job writes, and can lose messages of a successful job in two cases. A line
    of over 8 KiB is written in several parts, and the reader takes the first part as a message. The reader also misses
    messages that are written between its last read and the end of the session.

    `error`: after the session has closed, why the report is incomplete, else None. The report of a killed job may end
    within a line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: str | None = None

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[Mapping[str, Any]]:
        self.path.write_bytes(b"")
        try:
            yield {"path": str(self.path)}  # dagster_pipes writes to this file
        finally:
            self._read(handler)

    def no_messages_debug_text(self) -> str:
        return f"Attempted to read messages from {self.path} after the job had ended."

    def _read(self, handler: PipesMessageHandler) -> None:
        """Passes on the messages up to the first one that cannot be read."""
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    handler.handle_message(json.loads(line))
                except Exception as error:  # Dagster raises several kinds of errors for an invalid message
                    start = line[:300].decode(errors="replace")
                    self.error = f"Line {number} of {self.path} is not a message ({type(error).__name__}: {error}): {start}"
                    return
        if not handler.received_closed_message:
            self.error = f"{self.path} has no message `closed`"
