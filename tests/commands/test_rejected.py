"""`ruter-dagster rejected`: its table, its JSON, and dates without rejected rows."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from ruter_dagster.commands.cli import main
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.tables import REJECTED_VISITS, STOP_VISITS
from ruter_dagster.storage.configured_tables import open_tables
from tests.quality.frames import DAY, rejected_rows, visits

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
NEXT = DAY + timedelta(1)


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Visits of two dates, with rejected rows on the first date."""
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "state"))
    store = open_tables(load_settings())
    store.write(STOP_VISITS, visits(DAY, NEXT), [DAY, NEXT], code_version="1")
    store.write(REJECTED_VISITS, rejected_rows(DAY, rows=2), [DAY], code_version="1")


def output(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["rejected", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_rows_are_listed_with_file_line_and_reason() -> None:
    shown = output("--date", str(DAY))
    assert "stop_visits.csv │ 2" in shown
    assert "2 rows: boardings is below 0" in shown
    assert "blocked" not in shown


def test_json_has_the_original_rows() -> None:
    result = json.loads(output("--date", str(DAY), "--json"))
    assert (result["service_date"], result["blocked"], result["reasons"]) == (
        str(DAY),
        False,
        {"boardings is below 0": 2},
    )
    assert json.loads(result["rows"][0]["row"]) == {"boarding_1": "-1"}


def test_date_without_rejected_rows_is_reported() -> None:
    assert f"No row of {NEXT} was rejected" in output("--date", str(NEXT))
    assert json.loads(output("--date", str(NEXT), "--json"))["rows"] == []


def test_rows_of_a_blocked_date_are_listed() -> None:
    blocked = date(2026, 11, 25)
    store = open_tables(load_settings())
    store.write(REJECTED_VISITS, rejected_rows(blocked, rows=3, blocked=True), [blocked], code_version="1")
    assert "The date is blocked" in output("--date", str(blocked))
