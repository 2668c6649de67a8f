"""Whether a port of the loopback interface is free."""

from __future__ import annotations

import socket

from ruter_dagster.contracts.errors import PermanentFailure


def require_free_port(port: int, command: str) -> None:
    """Raises PermanentFailure if the port is taken. `command` is the one that would serve there, such as `dashboard`."""
    with socket.socket() as probe:
        # Like the server, so that a port that was just released counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PermanentFailure(
                f"Port {port} of 127.0.0.1 is not available ({error.strerror}). Stop the program that uses it, perhaps another "
                f"`ruter-dagster {command}`, or run `ruter-dagster {command} --port PORT`"
            ) from error
