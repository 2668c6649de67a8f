"""What a local job reports through Dagster Pipes, read from its file once the job has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import PipesMessageHandler, PipesMessageReader


class FileMessages(PipesMessageReader):
    """A file of one JSON message a line, which is read whole when the Pipes session closes.

    Dagster's own reader of files follows them while they are written. A line of over 8 KiB reaches the file in several
    writes: it takes the first of them for a message, and reads no further. Nor does it look again for what was written
    after it last found nothing and before the session closed. Either way reports of a job that succeeded are lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault: str | None = None
        """Once the session has closed: what the report lacks, and where. That of a job that was killed may end amid a line."""

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[Mapping[str, Any]]:
        self.path.write_bytes(b"")
        try:
            yield {"path": str(self.path)}  # what dagster_pipes asks for to write to a file
        finally:
            self._read(handler)

    def no_messages_debug_text(self) -> str:
        return f"Attempted to read messages from {self.path} after the job had ended."

    def _read(self, handler: PipesMessageHandler) -> None:
        """Hands over every message up to the first that cannot be read, if there is one."""
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    handler.handle_message(json.loads(line))
                except Exception as error:  # Dagster checks a message's parts with errors of its own
                    start = line[:300].decode(errors="replace")
                    self.fault = f"Line {number} of {self.path} is no report ({type(error).__name__}: {error}): {start}"
                    return
        if not handler.received_closed_message:
            self.fault = f"No line of {self.path} says `closed`"
