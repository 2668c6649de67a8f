"""`ruter-dagster dashboard` says why it cannot start, before Streamlit does."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ruter_dagster.commands.cli import main
from ruter_dagster.commands.dashboard import OPTIONS, dashboard_address, dashboard_command
from ruter_dagster.commands.dashboard_server import environment_options


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path))


def failure(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["dashboard", *arguments])
    assert result.exit_code == 1, result.output
    return result.output


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_missing_state_is_named_with_its_remedy(tmp_path: Path) -> None:
    message = failure("--port", free_port())
    assert f"There are no forecasts in {tmp_path / 'demo'}. Run" in message and "demo` first" in message


def test_taken_port_is_named_with_its_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = failure("--port", port)
    assert f"Port {port} of 127.0.0.1 is not available" in message and "dashboard --port PORT" in message


def test_missing_other_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo" / "warehouse").mkdir(parents=True)
    assert "There is no state nowhere." in failure("--port", free_port(), "--with", "nowhere")


def test_server_listens_on_the_loopback_interface_and_sends_no_statistics() -> None:
    assert dashboard_command(8501, ["state/try"])[-2:] == ["8501", "state/try"]
    assert OPTIONS["server.address"] == "127.0.0.1" and OPTIONS["browser.gatherUsageStats"] is False


def test_variables_set_streamlits_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "dash")
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_CORS", "false")
    assert dashboard_address(8501) == "http://127.0.0.1:8501/dash"
    options = environment_options()
    assert options["server.baseUrlPath"] == "dash" and options["server.enableCORS"] is False


def test_invalid_option_of_streamlit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_MAX_UPLOAD_SIZE", "large")
    with pytest.raises(SystemExit, match=r"STREAMLIT_SERVER_MAX_UPLOAD_SIZE.*'large' is not a valid integer"):
        environment_options()


def test_jobs_and_dagster_do_not_need_streamlit() -> None:
    # The images of jobs and of Dagster have neither.
    code = (
        "import sys; sys.modules.update(streamlit=None, duckdb=None, altair=None); import ruter_dagster.definitions; "
        "import ruter_dagster.dashboards.views, ruter_dagster.dashboards.comparison_note, ruter_dagster.jobs.performance"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
