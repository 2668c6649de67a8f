"""A Slack that answers on the loopback interface: a real HTTP server that checks blocks as Slack does and keeps the messages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "xoxb-token-of-the-tests"
MAX_BLOCKS, MAX_ALL_BLOCKS = 50, 13_000
LIMITS = {"header": 150, "section": 3000, "context": 3000}
"""Characters of the text of a block, by type. Other types are refused."""


@dataclass
class SlackStub:
    """`answers` are the statuses of the next requests; afterwards each is taken. `error`: Slack's word, with status 200.

    `errors`: Slack's word by channel. `loses_answers`: messages are taken, and the connection ends without an answer.
    """

    url: str = ""
    answers: list[int] = field(default_factory=list)
    error: str | None = None
    errors: dict[str, str] = field(default_factory=dict)
    loses_answers: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Each request: `path`, `authorization`, and the message's own fields."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """The messages that channels show, with their `ts`."""

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.messages]

    def of(self, channel: str) -> list[str]:
        """The texts of a channel, by its name."""
        return [
            message["text"]
            for message in self.messages
            if message["channel"] in (channel, channel_id(channel))
        ]

    def take(self, path: str, posted: dict[str, Any]) -> dict[str, Any]:
        """Slack's answer to a request."""
        error = self.error or self.errors.get(posted["channel"]) or blocks_fault(posted.get("blocks", []))
        if error:
            return {"ok": False, "error": error}
        if path.endswith("chat.update"):
            return self._update(posted)
        same = [message for message in self.messages if message["client_msg_id"] == posted["client_msg_id"]]
        if not same and posted.get("thread_ts") not in (None, *(message["ts"] for message in self.messages)):
            return {"ok": False, "error": "thread_not_found"}
        if not same:
            posted = posted | {"ts": f"1700000000.{len(self.requests):06}"}
            self.messages.append(posted)
        message = same[0] if same else posted
        return {"ok": True, "ts": message["ts"], "channel": channel_id(message["channel"])}

    def _update(self, posted: dict[str, Any]) -> dict[str, Any]:
        if not posted["channel"].startswith("C"):
            return {"ok": False, "error": "channel_not_found"}
        for message in self.messages:
            if message["ts"] == posted["ts"]:
                message |= {"text": posted["text"], "blocks": posted["blocks"]}
                return {"ok": True, "ts": posted["ts"], "channel": posted["channel"]}
        return {"ok": False, "error": "message_not_found"}


def channel_id(name: str) -> str:
    return name if name.startswith("C") else f"C{name.strip('#').upper()}"


def block_texts(message: dict[str, Any]) -> list[str]:
    """The text of each block of a message."""
    return [
        block["text"]["text"]
        if "text" in block
        else " ".join(element["text"] for element in block["elements"])
        for block in message["blocks"]
    ]


def blocks_fault(blocks: list[dict[str, Any]]) -> str | None:
    """Slack's error for blocks beyond its limits."""
    if len(blocks) > MAX_BLOCKS:
        return "invalid_blocks"
    for block in blocks:
        texts = block["elements"] if block["type"] == "context" else [block["text"]]
        kinds = {"plain_text"} if block["type"] == "header" else {"mrkdwn", "plain_text"}
        if len(texts) > 10 or any(
            text["type"] not in kinds or not 1 <= len(text["text"]) <= LIMITS.get(block["type"], 0)
            for text in texts
        ):
            return "invalid_blocks"
    return "msg_blocks_too_long" if len(json.dumps(blocks, ensure_ascii=False)) > MAX_ALL_BLOCKS else None


@contextmanager
def running_slack() -> Iterator[SlackStub]:
    stub = SlackStub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            authorization = self.headers.get("Authorization", "")
            stub.requests.append({"path": self.path, "authorization": authorization, **posted})
            status = stub.answers.pop(0) if stub.answers else 200
            answer = stub.take(self.path, posted) if status == 200 else {"ok": False, "error": "internal"}
            if stub.loses_answers:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status == 429:
                self.send_header("Retry-After", "30")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/api/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
