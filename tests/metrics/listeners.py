"""Local agents: TCP and UDP listeners that keep the bytes they receive, and readers of both formats."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

SCHEMA = Draft202012Validator(json.loads((Path(__file__).parent / "emf_schema.json").read_text()))
DATAGRAM = re.compile(r"(?P<name>[a-z_.]+):(?P<value>[-0-9.e]+)\|(?P<kind>[cgd])(\|#(?P<tags>[^|]+))?")


class Value(NamedTuple):
    """One value that CloudWatch would store: name, dimensions (name=value, joined by commas) and value."""

    name: str
    dimensions: str
    value: float


@dataclass
class Agent:
    """A listener. `refuses_after`: it resets each connection after this many others."""

    port: int
    received: list[bytes] = field(default_factory=list)
    refuses_after: int | None = None

    @property
    def lines(self) -> list[bytes]:
        return b"".join(self.received).splitlines()


@contextmanager
def tcp_agent(port: int = 0) -> Iterator[Agent]:
    """Reads each connection to its end and then closes it, as the CloudWatch agent does."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if agent.refuses_after is not None and len(agent.received) >= agent.refuses_after:
                self.request.recv(1)
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.request.close()  # With this option, close resets the connection.
                return
            content = b"".join(iter(lambda: self.request.recv(65536), b""))
            agent.received.append(content)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler) as server:
        agent = Agent(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield agent
        finally:
            server.shutdown()


@contextmanager
def udp_agent() -> Iterator[Agent]:
    """Keeps the datagrams that have arrived when the context closes. Loopback delivers them in order."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        agent = Agent(listener.getsockname()[1])
        yield agent
        listener.setblocking(False)
        while True:
            try:
                agent.received.append(listener.recv(65536))
            except BlockingIOError:
                return


def emf_lines(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The documents among the lines of a log, each checked against the format's schema and its own references."""
    documents = [json.loads(line) for line in lines if line.startswith(b'{"_aws"')]
    for document in documents:
        SCHEMA.validate(document)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            names = {name for dimensions in directive["Dimensions"] for name in dimensions}
            assert all(isinstance(document[name], str) and document[name] for name in names)
            assert all(isinstance(document[metric["Name"]], int | float) for metric in directive["Metrics"])
    return documents


def values(documents: Iterable[dict[str, Any]]) -> list[Value]:
    """What CloudWatch extracts: each metric of each directive under each set of dimensions."""
    return [
        Value(metric["Name"], ",".join(f"{name}={document[name]}" for name in dimensions), document[metric["Name"]])
        for document in documents
        for directive in document["_aws"]["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    ]  # fmt: skip


def sums(documents: Iterable[dict[str, Any]], dimensions: str) -> dict[str, float]:
    """The sum of each metric under these dimensions."""
    totals: defaultdict[str, float] = defaultdict(float)
    for value in values(documents):
        if value.dimensions == dimensions:
            totals[value.name] += value.value
    return dict(totals)


def datagrams(agent: Agent) -> list[tuple[str, float, str, tuple[str, ...]]]:
    """Name, value, type and tags of each DogStatsD datagram. Fails on a datagram that is not one metric."""
    matches = [DATAGRAM.fullmatch(line.decode()) for line in agent.lines]
    assert all(matches), agent.lines
    return [
        (match["name"], float(match["value"]), match["kind"], tuple((match["tags"] or "").split(",")))
        for match in matches
        if match
    ]
