"""Glue's optimistic lock, which moto lacks: UpdateTable with a stale `VersionId` is refused, as AWS refuses it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .application import Answer
from .limits import Refused
from .settings import ACCOUNT, Settings

WRITES = ("CreateTable", "UpdateTable", "DeleteTable", "BatchDeleteTable")


class GlueTables:
    """Writes of tables go one by one; reading needs no lock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()

    def owns(self, operation: str, request: dict[str, Any]) -> bool:
        return operation in WRITES

    def answer(self, operation: str, request: dict[str, Any], onward: Callable[[], Answer]) -> Answer:
        with self._lock:
            if operation == "UpdateTable" and request.get("VersionId") is not None:
                self._check_version(request)
            return onward()

    def _check_version(self, request: dict[str, Any]) -> None:
        from moto.core.exceptions import JsonRESTError
        from moto.glue.models import glue_backends

        backend = glue_backends[ACCOUNT][self._settings.region]
        try:
            table = backend.get_table(request["DatabaseName"], request["TableInput"]["Name"])
        except JsonRESTError:
            return  # no such table: moto says so
        present = table.as_dict()["VersionId"]
        if str(request["VersionId"]) != present:
            name = f"{request['DatabaseName']}.{request['TableInput']['Name']}"
            words = f"Update table failed due to concurrent modifications: {name} is at version {present}"
            raise Refused("ConcurrentModificationException", words)
