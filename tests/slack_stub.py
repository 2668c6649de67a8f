"""A Slack that answers on the loopback interface: a real HTTP server that checks blocks as Slack does and keeps the messages.

`python -m tests.slack_stub PORT` prints the messages until Ctrl-C, to try alerts without a workspace (docs/alerts.md).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
def running_slack(port: int = 0) -> Iterator[SlackStub]:
    """A running stub on a port of the loopback interface; 0 picks a free one."""
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

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/api/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def print_messages(port: int) -> None:
    """Prints each message that is posted, and each later change of one, until Ctrl-C."""
    with running_slack(port) as stub:
        print(f"RUTER_SLACK_API_URL={stub.url} RUTER_SLACK_TOKEN={TOKEN}", flush=True)
        shown = 0
        while True:
            for request in stub.requests[shown:]:
                kind = "reply" if request.get("thread_ts") else "message"
                if request["path"].endswith("chat.update"):
                    kind = "the first message becomes"
                print(f"--- {kind}, {request['channel']}\n" + "\n\n".join(block_texts(request)), flush=True)
                shown += 1
            time.sleep(0.2)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        print_messages(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
