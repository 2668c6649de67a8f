"""`ruter-dagster forecasts` shows the forecasts of an operating date, the most crowded departures first."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from ruter_dagster.commands.cli import main
from ruter_dagster.commands.forecasts import Selection, show
from ruter_dagster.commands.forecasts import load_forecasts as read_forecasts
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.tables import LOAD_FORECASTS, PLANNED_DEPARTURES
from ruter_dagster.forecasting.crowding import most_crowded
from ruter_dagster.storage.configured_tables import open_tables
from tests.publishing.samples import ISSUE_DATE, load_forecasts
from tests.quality.frames import planned

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")


def plan() -> pl.DataFrame:
    """A plan that names the line and the first five stops of the sample forecasts."""
    return planned(ISSUE_DATE).with_columns(
        line_id=pl.lit("RUT:Line:31"),
        line_name=pl.lit("31"),
        stop_name="stop_id",
        stop_id=pl.format("NSR:Quay:{}", pl.col("stop_sequence") - 1),
    )


@pytest.fixture(autouse=True)
def _empty_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def forecasts() -> pl.DataFrame:
    frame = load_forecasts(400)
    store = open_tables(load_settings())
    store.write(LOAD_FORECASTS, frame, [ISSUE_DATE], code_version="1")
    store.write(PLANNED_DEPARTURES, plan(), [ISSUE_DATE], code_version="1")
    return frame


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["forecasts", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == exit_code, result.output
    return result.output if exit_code else result.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    return json.loads(run(*arguments, "--json"))["rows"]


def test_most_crowded_departures_come_first(forecasts: pl.DataFrame) -> None:
    shown = rows("--top", "7")
    expected = most_crowded(forecasts.filter(pl.col("operating_date") == ISSUE_DATE), 7)
    assert [row["prob_above_seats"] for row in shown] == expected["prob_above_seats"].to_list()
    assert [row["trip_id"] for row in shown] == expected["trip_id"].to_list()


def test_unknown_seats_follow_known_ones() -> None:
    frame = load_forecasts(40)
    ordered = most_crowded(frame, 40)["prob_above_seats"]
    assert ordered.tail(4).null_count() == frame["prob_above_seats"].null_count() == 4


def test_table_shows_names_local_time_interval_and_source(forecasts: pl.DataFrame) -> None:
    [row] = rows("--stop", "Nationaltheatret", "--top", "1")
    shown = run("--stop", "Nationaltheatret", "--top", "1")
    assert f"Forecasts of {ISSUE_DATE}, issued {ISSUE_DATE}: 1 of 5 departures" in shown
    assert "06:00" in shown, "05:00 UTC in Oslo"
    assert "31 (RUT:Line:31)" in shown
    assert "Nationaltheatret (NSR:Quay:1)" in shown
    assert f"{row['p10']:.0f}-{row['p90']:.0f}" in shown
    assert "manySeatsAvailable" in shown
    assert "model (departure)" in shown


def test_departures_of_a_stop_are_listed_by_time(forecasts: pl.DataFrame) -> None:
    times = [row["scheduled_departure_time"] for row in rows("--stop", "NSR:Quay:1")]
    assert times == sorted(times)
    assert len(times) == 5


def test_line_is_selected_by_id_or_name(forecasts: pl.DataFrame) -> None:
    assert rows("--line", "31") == rows("--line", "RUT:Line:31") != []


def test_stop_is_selected_by_last_part_of_its_id(forecasts: pl.DataFrame) -> None:
    assert rows("--stop", "1") == rows("--stop", "NSR:Quay:1") != []


def test_narrow_output_that_is_no_terminal_is_not_cut(forecasts: pl.DataFrame) -> None:
    result = CliRunner().invoke(main, ["forecasts", "--stop", "NSR:Quay:1"], env={"COLUMNS": "40"})
    assert "Nationaltheatret (NSR:Quay:1)" in result.stdout
    assert "…" not in result.stdout


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminal_shows_every_character(forecasts: pl.DataFrame, width: int) -> None:
    output = StringIO()
    selected = read_forecasts(load_settings(), Selection(line="31", top=3))
    show(selected, Console(file=output, force_terminal=True, color_system=None, width=width))
    assert "…" not in output.getvalue()
    assert max(map(len, output.getvalue().splitlines())) <= width


def test_common_source_is_named_once(forecasts: pl.DataFrame) -> None:
    assert run("--line", "31", "--top", "3").count("model (departure)") == 1


def test_later_date_is_read_from_the_newest_issue_date(forecasts: pl.DataFrame) -> None:
    later = ISSUE_DATE + timedelta(3)
    shown = json.loads(run("--date", str(later), "--json"))
    assert (shown["issue_date"], shown["operating_date"]) == (str(ISSUE_DATE), str(later))
    assert shown["rows"][0]["stop_name"] is None, "no plan of that date is stored"


def test_date_without_forecasts_names_the_dates(forecasts: pl.DataFrame) -> None:
    message = run("--date", "2026-12-01", exit_code=1)
    assert (
        "There is no forecast of 2026-12-01. Forecasts were issued on 2026-11-20, each for its date"
        in message
    )
    assert "up to 2026-11-23" in message


def test_unknown_line_names_a_similar_one(forecasts: pl.DataFrame) -> None:
    message = run("--line", "RUT:Line:13", exit_code=1)
    assert "No forecast departure of line RUT:Line:13" in message
    assert "Did you mean RUT:Line:31?" in message


def test_snippet_in_the_docs_reads_the_newest_date(forecasts: pl.DataFrame) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
    snippet = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert names["forecasts"].height == forecasts.height


def test_state_without_forecasts_is_one_sentence(tmp_path: Path) -> None:
    assert "ruter-dagster demo` first" in run(exit_code=1)
    assert not (tmp_path / "state").exists()
