"""`ruter-dagster dashboard`: starts Streamlit with the dashboard on the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from ruter_dagster.commands.ports import require_free_port
from ruter_dagster.commands.report_server import name_reports_url, serve_reports
from ruter_dagster.commands.states import find_state
from ruter_dagster.config.settings import Settings
from ruter_dagster.storage.configured_tables import open_existing_tables

SCRIPT = Path(__file__).with_name("dashboard_script.py")
SERVER = "ruter_dagster.commands.dashboard_server"
PORT = 8501
OPTIONS: Mapping[str, str | bool] = {
    "server.address": "127.0.0.1",
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.runOnSave": False,
    # No request leaves the machine.
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorLinks": False,
    "theme.light.primaryColor": "#0B5FA5",
    "theme.dark.primaryColor": "#6CB4EE",
}


def serve_dashboard(settings: Settings, port: int, other_states: Sequence[str]) -> int:
    """Runs the dashboard until Ctrl-C and returns its exit code.

    Raises PermanentFailure before anything starts, if the port is taken, or if this state or another one has no tables.
    """
    require_free_port(port, "dashboard")
    open_existing_tables(settings)
    for name in other_states:
        find_state(settings, name)
    # A shell gives its background commands an ignored SIGINT, which Streamlit would inherit and never end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with _served_reports(settings):
        return _run(dashboard_command(port, other_states), port)


def _served_reports(settings: Settings) -> AbstractContextManager[object]:
    """Serves the quality reports of a state folder, so that links open them, unless another server has their port."""
    folder = settings.source_dir / "artifacts"
    if settings.lake or not folder.is_dir():
        return nullcontext()
    stack = ExitStack()
    name_reports_url(settings, stack.enter_context(serve_reports(folder, settings.reports_url)))
    return stack


def _run(command: Sequence[str], port: int) -> int:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        if answers(process, port):
            print(f"Dashboard: {dashboard_address(port)} (Ctrl-C ends it)", flush=True)
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def dashboard_address(port: int) -> str:
    """The address of the first page, with the path that the variable `STREAMLIT_SERVER_BASE_URL_PATH` sets."""
    path = os.environ.get("STREAMLIT_SERVER_BASE_URL_PATH", "").strip("/")
    return f"http://127.0.0.1:{port}{path and '/' + path}"


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the server answers. False if it has ended."""
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def dashboard_command(port: int, other_states: Sequence[str] = ()) -> list[str]:
    """The command that runs Streamlit. `ruter-dagster dev` starts it too."""
    return [sys.executable, "-m", SERVER, str(port), *other_states]
