"""Serves the quality reports of a state folder, so that links in Dagster's UI open them.

`ruter-dagster dev` serves them on the loopback interface. `python -m ruter_dagster.commands.report_server` is a server of its
own, for a container.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from ruter_dagster.config.settings import Settings, load_settings

LOOPBACK = ("127.0.0.1", "localhost")
_NOT_SERVED = "Quality reports are not served"
"""Beginning of the sentence that `serve_reports` yields if it serves nothing at an address of this machine."""


class _ReadOnlyHandler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD with files of one folder, and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve_reports(folder: Path, url: str) -> Iterator[str]:
    """Serves `folder` at `url` while the context is open. Yields a sentence for the user with the address or the problem.

    Nothing is served if `url` is not on the loopback interface or its port is taken. Links then need another server.
    """
    address = urlsplit(url)
    if address.hostname not in LOOPBACK:
        yield f"Quality reports are expected at {url} (RUTER_REPORTS_URL)"
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = ThreadingHTTPServer(
            ("127.0.0.1", 80 if address.port is None else address.port),
            partial(_ReadOnlyHandler, directory=str(folder)),
        )
    except OSError as error:
        yield (
            f"{_NOT_SERVED} at {url} ({error.strerror}). Choose another address in RUTER_REPORTS_URL, or run "
            "`ruter-dagster dev --reports-port PORT`"
        )
        return
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"Quality reports at {url}/quality/reports/"
    finally:
        server.shutdown()
        server.server_close()


def name_reports_url(settings: Settings, sentence: str) -> None:
    """Lets links of the dashboard open the reports, if they are served. `sentence` is that of `serve_reports`."""
    if not sentence.startswith(_NOT_SERVED):
        os.environ["RUTER_REPORTS_URL"] = settings.reports_url


def report_page(settings: Settings) -> Callable[[str], str | None]:
    """Returns the address of a report for browsers, by the address of its file.

    It is None with a lake, whose reports are in S3, and if RUTER_REPORTS_URL is not set: then nothing may serve the reports.
    """
    if "reports_url" not in settings.model_fields_set:
        return lambda report: None
    return lambda report: settings.report_page(report.rpartition("/artifacts/")[2])


def main() -> None:
    """Serves the reports of the state in the settings on all interfaces, at the port of RUTER_REPORTS_URL, without end."""
    settings = load_settings()
    handler = partial(_ReadOnlyHandler, directory=settings.artifacts_location)
    with ThreadingHTTPServer(("", urlsplit(settings.reports_url).port or 80), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
