"""A GitLab that answers on the loopback interface: a real HTTP server with notes of merge requests, and environments."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "glpat-token-of-the-tests"  # checkov:skip=CKV_SECRET_6:no token of a GitLab


@dataclass
class GitLabStub:
    """`answers` are the statuses of the next requests, `None` for a normal answer. Afterwards each request is served.

    `lost_answers`: number of posted notes that are kept, but answered with 502.
    """

    url: str = ""
    answers: list[int | None] = field(default_factory=list)
    lost_answers: int = 0
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, and token of each request."""
    notes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Notes by the path of their merge request, such as /projects/7/merge_requests/12."""
    environments: list[dict[str, Any]] = field(default_factory=list)
    """Environments of the project, each with id, name and state."""
    forced_stops: list[int] = field(default_factory=list)
    """Ids of the environments that were stopped without their stop job."""
    location: str = ""
    """Target of redirects."""

    def bodies(self, merge_request: str) -> list[str]:
        return [note["body"] for note in self.notes.get(merge_request, [])]

    def serve(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON answer of a request."""
        address = urlsplit(path.removeprefix("/api/v4"))
        if "/environments" in address.path:
            return self._serve_environments(method, address.path, parse_qs(address.query), body)
        merge_request, _, number = address.path.partition("/notes")
        notes = self.notes.setdefault(merge_request, [])
        if method == "GET":
            query = parse_qs(address.query)
            size, page = int(query["per_page"][0]), int(query["page"][0])
            return 200, notes[(page - 1) * size : page * size]
        if method == "POST":
            notes.append({"id": 100 + len(notes), **body})
            self.lost_answers -= 1
            return (502 if self.lost_answers >= 0 else 201), notes[-1]
        note = next(note for note in notes if note["id"] == int(number.strip("/")))
        note.update(body)
        return 200, note

    def _serve_environments(
        self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]
    ) -> tuple[int, Any]:
        if method == "GET":
            size, page = int(query["per_page"][0]), int(query["page"][0])
            matching = [item for item in self.environments if query["search"][0] in item["name"]]
            return 200, matching[(page - 1) * size : page * size]
        number = int(path.partition("/environments/")[2].partition("/")[0])
        environment = next(item for item in self.environments if item["id"] == number)
        if method == "POST":
            environment["state"] = "stopped"
            self.forced_stops += [number] if body.get("force") else []
            return 200, environment
        if environment["state"] != "stopped":
            return 403, {"message": "403 Forbidden"}
        self.environments.remove(environment)
        return 204, None


@contextmanager
def running_gitlab() -> Iterator[GitLabStub]:
    stub = GitLabStub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("PRIVATE-TOKEN") or self.headers.get("JOB-TOKEN", "")
            stub.requests.append((self.command, self.path, token))
            status = stub.answers.pop(0) if stub.answers else None
            answer: Any = {"message": "refused"}
            if status is None:
                status, answer = stub.serve(self.command, self.path, json.loads(content or b"{}"))
            self.send_response(status)
            if stub.location:
                self.send_header("Location", stub.location)
            self.end_headers()
            if status != 204:
                self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/api/v4"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
