"""Quality reports are served read-only on the loopback interface."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ruter_dagster.commands.report_server import serve_reports


@pytest.fixture
def url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_reports_are_served_until_the_end(tmp_path: Path, url: str) -> None:
    (tmp_path / "day.html").write_text("<p>Tøyen</p>", encoding="utf-8")
    with serve_reports(tmp_path, url) as sentence:
        assert sentence == f"Quality reports at {url}/quality/reports/"
        with urlopen(f"{url}/day.html", timeout=10) as answer:
            assert answer.read().decode() == "<p>Tøyen</p>"
    with pytest.raises(OSError):
        urlopen(f"{url}/day.html", timeout=10)


def test_files_outside_the_folder_are_not_accessible(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    with serve_reports(folder, url):
        for request in (Request(f"{url}/new", b"x", method="PUT"), Request(f"{url}/../secret")):
            with pytest.raises(HTTPError):
                urlopen(request, timeout=10)


def test_taken_port_and_other_hosts_are_one_sentence(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        serve_reports(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}") as sentence,
    ):
        assert "are not served at" in sentence
        assert sentence.endswith("in RUTER_REPORTS_URL, or run `ruter-dagster dev --reports-port PORT`")
    with serve_reports(tmp_path, "https://reports.example.org") as sentence:
        assert sentence == "Quality reports are expected at https://reports.example.org (RUTER_REPORTS_URL)"
