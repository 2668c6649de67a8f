"""A Slack that answers on the loopback interface: a real HTTP server that keeps what was posted to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

TOKEN = "xoxb-token-of-the-tests"


@dataclass
class SlackStub:
    """`answers` are the statuses of the next requests; afterwards each is taken. `error`: Slack's word, with status 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    error: str | None = None
    requests: list[dict[str, str]] = field(default_factory=list)
    """Each request: `path`, `authorization`, and the message's own fields."""
    texts: list[str] = field(default_factory=list)
    """Of the messages that were taken."""


@contextmanager
def running_slack() -> Iterator[SlackStub]:
    stub = SlackStub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            posted = _fields(body, self.headers.get("Content-Type", ""))
            stub.requests.append(
                {"path": self.path, "authorization": self.headers.get("Authorization", ""), **posted}
            )
            status = stub.answers.pop(0) if stub.answers else 200
            taken = status == 200 and stub.error is None
            if taken:
                stub.texts.append(posted["text"])
            answer = json.dumps(
                {"ok": True, "ts": "1"} if taken else {"ok": False, "error": stub.error or "internal"}
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/api/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _fields(body: str, content_type: str) -> dict[str, str]:
    if "json" in content_type:
        return {name: str(value) for name, value in json.loads(body).items()}
    return {name: values[0] for name, values in parse_qs(body).items()}
