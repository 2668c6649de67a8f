"""Quality reports are served read-only on the loopback interface."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ruter_dagster.commands.report_server import name_reports_url, report_page, serve_reports
from ruter_dagster.config.settings import load_settings


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


def test_links_open_reports_only_if_their_address_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    file = f"file://{tmp_path}/demo/artifacts/quality/reports/day.html"
    monkeypatch.setenv("RUTER_REPORTS_URL", url)  # so that the old value returns
    monkeypatch.delenv("RUTER_REPORTS_URL")
    settings = load_settings(_env_file=None, state_dir=tmp_path)
    assert report_page(settings)(file) is None
    with serve_reports(tmp_path, url) as sentence:
        name_reports_url(load_settings(_env_file=None, reports_url=url), sentence)
    assert report_page(load_settings(_env_file=None))(file) == f"{url}/quality/reports/day.html"


def test_reports_that_are_not_served_get_no_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RUTER_REPORTS_URL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with serve_reports(tmp_path, url) as sentence:
            name_reports_url(load_settings(_env_file=None, reports_url=url), sentence)
    assert "RUTER_REPORTS_URL" not in os.environ
