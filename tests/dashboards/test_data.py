"""The data of the pages, and the sentences that answer their questions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.dashboard import ISSUE_DATE
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.scores import LINE_SCORES, PUBLISHED
from ruter_dagster.contracts.tables import (
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    SIRI_OCCUPANCY,
)
from ruter_dagster.contracts.tables import (
    REASONS as REASON_CODES,
)
from ruter_dagster.dashboards.data import comparison, skill, tomorrow, yesterday
from ruter_dagster.dashboards.data.names import names_of
from ruter_dagster.dashboards.data.words import (
    LEVELS,
    REASONS,
    Names,
    different,
    escaped,
    last_part,
    reasons_in_words,
)
from ruter_dagster.dashboards.engine import Engine, TableReader
from ruter_dagster.forecasting.crowding import most_crowded
from ruter_dagster.forecasting.occupancy import GTFS_STATUS
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.publications import Publication, record_publication
from ruter_dagster.storage.tables import TableStore
from tests.dashboards.state import OBSERVED, TIME_ZONE, TOMORROW, YESTERDAY
from tests.publishing.samples import load_forecasts

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")


@pytest.fixture(scope="module")
def shared(store: TableStore) -> TableReader:
    return Engine(store).reader()


def published(
    store: TableStore, number: int, snapshot_id: int, content_hash: str, supersedes: str | None = None
) -> None:
    at = datetime(2026, 11, 20, 4, number, tzinfo=UTC)
    record_publication(
        store,
        Publication(
            ISSUE_DATE, f"p{number}", content_hash, snapshot_id, 2, at, at, 1, 1, 0, "t", False, supersedes
        ),
    )


# ---- Tomorrow


def test_first_row_is_the_most_crowded_departure(shared: TableReader, store: TableStore) -> None:
    forecast = tomorrow.newest_published(shared)
    assert forecast is not None and forecast.issue_date == ISSUE_DATE
    names = names_of(shared, TOMORROW)
    selection = tomorrow.Selection(TOMORROW)
    rows = tomorrow.crowded_departures(shared, forecast, selection, names, TIME_ZONE)
    day = store.read(LOAD_FORECASTS, [ISSUE_DATE]).filter(pl.col("operating_date") == TOMORROW)
    expected = most_crowded(day, 1).row(0, named=True)
    local = expected["scheduled_departure_time"] + timedelta(hours=1)  # Oslo in November
    plan = store.read(PLANNED_DEPARTURES, [TOMORROW]).filter(pl.col("stop_id") == expected["stop_id"])
    sentence = tomorrow.most_crowded_sentence(rows)
    assert (
        f"line {last_part(expected['line_id'])} at {local:%H:%M} from {plan['stop_name'].item(0)}" in sentence
    )
    assert f"{expected['mean']:.0f} passengers expected" in sentence
    assert f"{expected['prob_above_seats']:.0%}" in sentence


def test_totals_are_those_of_the_selection(shared: TableReader, store: TableStore) -> None:
    forecast = tomorrow.newest_published(shared)
    assert forecast is not None
    day = store.read(LOAD_FORECASTS, [ISSUE_DATE]).filter(
        pl.col("operating_date") == TOMORROW, pl.col("mode") == "tram"
    )
    totals = tomorrow.totals(shared, forecast, tomorrow.Selection(TOMORROW, mode="tram"), 0.3)
    assert totals["departures"] == day.height
    assert (
        totals["crowded"] == (day["prob_above_seats"] >= 0.3).sum() > (day["prob_above_seats"] >= 0.5).sum()
    )


def test_totals_without_seats_are_unknown(tmp_path: Path) -> None:
    store = TableStore(local_catalog(tmp_path))
    rows = load_forecasts(40).with_columns(
        seats=pl.lit(None, pl.Int32), prob_above_seats=pl.lit(None, pl.Float64)
    )
    store.write(LOAD_FORECASTS, rows, [ISSUE_DATE], code_version="1")
    reader = Engine(store).reader()
    forecast = tomorrow.newest_published(reader)
    assert forecast is not None
    totals = tomorrow.totals(reader, forecast, tomorrow.Selection(TOMORROW), 0.2)
    assert totals["departures"]
    assert totals["expected_above_seats"] is None and totals["crowded"] is None


def test_journey_has_its_stops_in_order(shared: TableReader, store: TableStore) -> None:
    forecast = tomorrow.newest_published(shared)
    assert forecast is not None
    trip = (
        store.read(LOAD_FORECASTS, [ISSUE_DATE])
        .filter(pl.col("operating_date") == TOMORROW)["trip_id"]
        .item(0)
    )
    rows = tomorrow.journey(shared, forecast, TOMORROW, trip, names_of(shared, TOMORROW), TIME_ZONE)
    assert rows["stop_sequence"].to_list() == list(range(1, rows.height + 1))
    assert rows["time"].is_sorted() and rows["stop"].str.starts_with("Stop ").all()


def test_map_has_the_most_crowded_stops(shared: TableReader, monkeypatch: pytest.MonkeyPatch) -> None:
    forecast = tomorrow.newest_published(shared)
    assert forecast is not None
    names = names_of(shared, TOMORROW)
    everything = tomorrow.crowded_stops(shared, forecast, tomorrow.Selection(TOMORROW), names)
    monkeypatch.setattr(tomorrow, "MAP_STOPS", 5)
    shown = tomorrow.crowded_stops(shared, forecast, tomorrow.Selection(TOMORROW), names)
    assert (
        shown["expected_above_seats"].to_list()
        == everything["expected_above_seats"].top_k(5).sort().to_list()
    )
    assert shown.select("latitude", "longitude").null_count().sum_horizontal().item() == 0


def test_no_matching_departure_is_said(shared: TableReader) -> None:
    forecast = tomorrow.newest_published(shared)
    assert forecast is not None
    rows = tomorrow.crowded_departures(
        shared, forecast, tomorrow.Selection(TOMORROW, line="x"), Names(), TIME_ZONE
    )
    assert tomorrow.most_crowded_sentence(rows) == "No departure matches. Remove a filter."


def test_page_shows_what_was_published_and_not_what_was_computed_since(tmp_path: Path) -> None:
    store = TableStore(local_catalog(tmp_path))
    first = store.write(LOAD_FORECASTS, load_forecasts(40), [ISSUE_DATE], code_version="1")
    published(store, 1, first.snapshot_id, first.hashes[ISSUE_DATE])
    unpublished = load_forecasts(40).with_columns(mean=pl.col("mean") + 1, p90=pl.col("p90") + 1)
    store.write(LOAD_FORECASTS, unpublished, [ISSUE_DATE], code_version="1")
    reader = Engine(store).reader()
    forecast = tomorrow.newest_published(reader)
    assert forecast is not None and forecast.snapshot_id == first.snapshot_id
    totals = tomorrow.totals(reader, forecast, tomorrow.Selection(TOMORROW), 0.2)
    expected = load_forecasts(40).filter(pl.col("operating_date") == TOMORROW)
    assert totals["mean"] == pytest.approx(expected["mean"].sum())


def test_correction_is_shown_whatever_the_clocks_say(tmp_path: Path) -> None:
    store = TableStore(local_catalog(tmp_path))
    result = store.write(LOAD_FORECASTS, load_forecasts(40), [ISSUE_DATE], code_version="1")
    for number, supersedes in ((9, None), (3, "p9")):
        published(store, number, result.snapshot_id, result.hashes[ISSUE_DATE], supersedes)
    forecast = tomorrow.newest_published(Engine(store).reader())
    assert forecast is not None and forecast.published_at == datetime(2026, 11, 20, 4, 3, tzinfo=UTC)


def test_lost_publication_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    store = TableStore(local_catalog(tmp_path))
    store.write(LOAD_FORECASTS, load_forecasts(40), [ISSUE_DATE], code_version="1")
    published(store, 1, 1, "another")
    with pytest.raises(PermanentFailure, match="Materialise forecasts/published_forecasts for 2026-11-20"):
        tomorrow.newest_published(Engine(store).reader())


def test_state_without_forecasts_has_none(tmp_path: Path) -> None:
    assert tomorrow.newest_published(Engine(TableStore(local_catalog(tmp_path))).reader()) is None


# ---- Yesterday


def test_network_scores_are_those_of_the_departures(shared: TableReader, store: TableStore) -> None:
    rows = store.read(FORECAST_PERFORMANCE, [YESTERDAY]).filter(pl.col("horizon_days") == 1)
    scores = yesterday.network_scores(shared, YESTERDAY, YESTERDAY, 1).row(0, named=True)
    errors = (rows["mean"] - rows["load"]).abs()
    assert scores["wape"] == pytest.approx(errors.sum() / rows["load"].sum())
    assert scores["coverage"] == pytest.approx(rows["load"].is_between(rows["p10"], rows["p90"]).mean())
    skill_of_rows = 1 - errors.sum() / (rows["ha4"] - rows["load"]).abs().sum()
    assert scores["skill_against_ha4"] == pytest.approx(skill_of_rows)


def test_scores_of_a_line_are_those_of_its_departures(shared: TableReader, store: TableStore) -> None:
    line = "RUT:Line:21"
    scores = yesterday.network_scores(shared, YESTERDAY, YESTERDAY, 1, line=line).row(0, named=True)
    rows = store.read(FORECAST_PERFORMANCE, [YESTERDAY]).filter(pl.col("horizon_days") == 1, line_id=line)
    assert rows.height == scores["matched"]
    assert scores["wape"] * rows["load"].sum() == pytest.approx((rows["mean"] - rows["load"]).abs().sum())


def test_lines_without_a_timetable_can_be_chosen(shared: TableReader) -> None:
    names = yesterday.with_scored_lines(shared, YESTERDAY, 1, Names())
    assert set(names.line_labels("tram")) == set(names_of(shared, YESTERDAY).line_labels("tram")) != set()


def test_worst_forecast_is_named_with_its_reason(shared: TableReader, store: TableStore) -> None:
    names = names_of(shared, YESTERDAY)
    selection = yesterday.Selection(YESTERDAY)
    lines = yesterday.line_scores(shared, selection, names)
    worst = yesterday.worst_journeys(shared, selection, lines, names, TIME_ZONE, yesterday.BY_ERROR)
    rows = store.read(FORECAST_PERFORMANCE, [YESTERDAY]).filter(pl.col("horizon_days") == 1)
    expected = rows.sort((pl.col("mean") - pl.col("load")).abs(), descending=True).row(0, named=True)
    scores = yesterday.network_scores(shared, YESTERDAY, YESTERDAY, 1).row(0, named=True)
    sentence = yesterday.day_sentence(scores, worst)
    assert f"{expected['mean']:.0f} expected, {expected['load']:.0f} observed. Likely reason: " in sentence
    assert f"off by **{scores['wape']:.1%}**" in sentence
    assert worst["likely_reason"].null_count() == 0


def test_lines_and_journeys_drill_down_to_departures(shared: TableReader) -> None:
    names = names_of(shared, YESTERDAY)
    line = yesterday.line_scores(shared, yesterday.Selection(YESTERDAY), names).row(0, named=True)
    selection = yesterday.Selection(YESTERDAY, line=line["line_id"])
    journeys = yesterday.journeys(shared, selection, TIME_ZONE)
    stops = yesterday.stop_scores(shared, selection, names)
    rows = yesterday.journey(shared, selection, journeys["trip_id"].item(0), names, TIME_ZONE)
    for frame in (journeys, stops, rows):
        assert frame.select("operating_date", "line_id").unique().rows() == [(YESTERDAY, line["line_id"])]
    assert journeys["departures"].sum() == stops["departures"].sum() == line["departures"]
    assert journeys["absolute_error"].sum() == pytest.approx(line["absolute_error"])
    assert rows["absolute_error"].sum() == pytest.approx(journeys["absolute_error"].item(0))


ROW: dict[str, Any] = {
    "load": 90.0, "mean": 40.0, "ha4": 42.0, "source": "model", "expected_tier": "departure", "reasons": "", "trip_id": "t",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "line_change", "whole_journey", "reason"),
    [
        ({"reasons": "event"}, 0.0, False, "Known before: event nearby"),
        ({"source": "fallback"}, 0.0, False, "Not forecast by the model, but by the fallback"),
        ({"expected_tier": "line_hour"}, 0.0, False, "No counts of this departure"),
        ({}, 0.3, False, "Whole line: 30% more passengers than forecast"),
        ({"load": 2.0}, -0.47, False, "Whole line: 47% fewer passengers than forecast"),
        ({"load": 2.0}, -0.24, False, "This stop alone: far fewer"),
        ({}, -0.3, False, "This stop alone: far more"),
        ({}, 0.0, True, r"Whole journey: far more than its 4-week mean \(42\)"),
        ({"load": 2.0}, 0.0, True, "Whole journey: far fewer than"),
        ({"ha4": 85.0}, 0.0, True, "Error of the model: the 4-week mean was closer"),
        ({"ha4": None}, 0.0, True, "Unknown: no loads of the last four weeks"),
        ({"reasons": None, "expected_tier": None, "ha4": None}, None, False, "Unknown"),
    ],
)
def test_likely_reason(
    changed: dict[str, Any], line_change: float | None, whole_journey: bool, reason: str
) -> None:
    match = yesterday.likely_reason({**ROW, **changed}, line_change, whole_journey)
    assert pl.Series([match]).str.contains(f"^{reason}").item()


@pytest.mark.parametrize("order", yesterday.ORDERS)
def test_chart_of_a_line_starts_with_the_journey_of_the_sentence(shared: TableReader, order: str) -> None:
    names, selection = names_of(shared, YESTERDAY), yesterday.Selection(YESTERDAY, line="RUT:Line:21")
    lines = yesterday.line_scores(shared, selection, names)
    worst = yesterday.worst_journeys(shared, selection, lines, names, TIME_ZONE, order)
    found = yesterday.worst_of_line(worst, selection.line)
    assert found is not None
    trip, words = found
    scores = yesterday.network_scores(shared, YESTERDAY, YESTERDAY, 1).row(0, named=True)
    assert f"at {words}**" in yesterday.day_sentence(scores, worst)
    assert trip in yesterday.journey_labels(yesterday.journeys(shared, selection, TIME_ZONE))
    assert yesterday.worst_of_line(worst, None) is None


def test_scores_of_other_loads_are_named(store: TableStore, tmp_path: Path) -> None:
    other = TableStore(local_catalog(tmp_path))
    rows = store.read(FORECAST_PERFORMANCE, [YESTERDAY])
    other.write(LINE_SCORES, store.read(LINE_SCORES, [YESTERDAY]), [YESTERDAY], code_version="1")
    other.write(FORECAST_PERFORMANCE, rows, [YESTERDAY], code_version="1")
    assert yesterday.scores_note(Engine(other).reader(), YESTERDAY, 1) == ""
    halved = rows.with_columns(load=pl.col("load") / 2)
    other.write(FORECAST_PERFORMANCE, halved, [YESTERDAY], code_version="1")
    note = yesterday.scores_note(Engine(other).reader(), YESTERDAY, 1)
    assert f"Materialise `monitoring/line_scores` for {YESTERDAY}" in note


def test_line_change_is_relative_to_the_forecast() -> None:
    lines = pl.DataFrame({"line_id": ["halved", "doubled", "none"], "bias": [1.0, -0.5, -1.0]})
    assert yesterday.line_changes(lines) == {"halved": -0.5, "doubled": 1.0, "none": None}


# ---- Skill and drift


def test_skill_is_that_of_the_whole_period(shared: TableReader, store: TableStore) -> None:
    rows = store.read(FORECAST_PERFORMANCE, OBSERVED).filter(pl.col("horizon_days") == 1)
    expected = 1 - (rows["mean"] - rows["load"]).abs().sum() / (rows["ha4"] - rows["load"]).abs().sum()
    score = skill.period_score(shared, OBSERVED[0], YESTERDAY, 1, None)
    assert score.dates == len(OBSERVED) and score.ratios is not None
    assert score.ratios["skill_against_ha4"] == pytest.approx(expected)
    assert f"**{expected:.1%} smaller**" in skill.skill_sentence(score, 1)


@pytest.mark.parametrize(
    ("value", "beginning"), [(0.124, "**Yes**: the model's errors are **12.4% smaller**"), (-0.05, "**No**: the model's errors are **5.0% larger**"), (None, "**Unknown**")]
)  # fmt: skip
def test_sentence_answers_whether_the_model_is_better(value: float | None, beginning: str) -> None:
    score = skill.PeriodScore(7, YESTERDAY, {"skill_against_ha4": value})
    assert skill.skill_sentence(score, 1).startswith(beginning)


def test_drift_sentence_names_what_is_beyond_a_threshold(shared: TableReader) -> None:
    measures = skill.drift_measures(shared, OBSERVED[0], YESTERDAY)
    assert skill.drift_sentence(measures) == f"No measure is beyond a threshold on {YESTERDAY}."
    beyond = (pl.col("metric") == "bias") & (pl.col("scope") == "bus")
    warned = measures.with_columns(verdict=pl.when(beyond).then(pl.lit("warn")).otherwise("verdict"))
    assert "measures is beyond a threshold" in skill.drift_sentence(
        warned
    ) and "Bias (bus)" in skill.drift_sentence(warned)
    assert skill.newest_verdicts(warned, "bus").row(0, named=True)["metric"] == "bias"


# ---- Compare


def test_challenger_is_compared_with_the_champion(shared: TableReader) -> None:
    overall, modes = comparison.variant_scores(shared, YESTERDAY, YESTERDAY, 1)
    assert overall["variant"].to_list()[:2] == ["Champion (published)", "Challenger"]
    assert "**10.0% lower**" in comparison.challenger_sentence(overall)
    assert set(modes["variant"]) == set(overall["variant"])
    without, _ = comparison.variant_scores(shared, OBSERVED[0], OBSERVED[1], 1)
    assert "There is no challenger" in comparison.challenger_sentence(without)


def test_states_are_compared_by_line(shared: TableReader, store: TableStore, tmp_path: Path) -> None:
    other = TableStore(local_catalog(tmp_path))
    frame = store.read(LOAD_FORECASTS, [ISSUE_DATE])
    louder = pl.when(pl.col("line_id") == "RUT:Line:21").then(1.5).otherwise(1.0)
    scaled = frame.with_columns(pl.col("mean", "p50", "p90", "p10") * louder)
    other.write(LOAD_FORECASTS, scaled, [ISSUE_DATE], code_version="1")
    reader = Engine(other).reader()
    assert comparison.shared_issue_dates(shared, reader) == [ISSUE_DATE]
    assert comparison.shared_scored_dates(shared, reader) == []
    first = comparison.forecast_changes(shared, reader, ISSUE_DATE).row(0, named=True)
    assert first["line_id"] == "RUT:Line:21" and first["change"] == pytest.approx(-1 / 3)
    changes = comparison.forecast_changes(shared, reader, ISSUE_DATE)
    sentence = comparison.states_sentence(changes, ISSUE_DATE, [])
    assert sentence.endswith(f"{ISSUE_DATE} differ for 1 of {changes.height} lines**.")
    same = comparison.accuracy_of_states(shared, shared, OBSERVED[0], YESTERDAY, 1)
    this, that = (same.filter(pl.col("state") == state).drop("state") for state in ("this", "other"))
    assert_frame_equal(this, that)
    assert this.height


def test_states_with_other_loads_are_told_apart(
    shared: TableReader, store: TableStore, tmp_path: Path
) -> None:
    other = TableStore(local_catalog(tmp_path))
    for day in OBSERVED:
        scores = store.read(LINE_SCORES, [day])
        halved = scores.with_columns(load=pl.col("load") / 2) if day == YESTERDAY else scores
        other.write(LINE_SCORES, halved, [day], code_version="1")
    reader = Engine(other).reader()
    dates = comparison.dates_with_other_loads(shared, reader, OBSERVED[0], YESTERDAY, 1)
    assert dates == [YESTERDAY]
    changes = comparison.forecast_changes(shared, shared, ISSUE_DATE)
    sentence = comparison.states_sentence(changes, ISSUE_DATE, dates)
    assert "have the same sums** for each line" in sentence
    assert f"The observed loads differ on {YESTERDAY}" in sentence


# ---- Words


def test_every_code_has_words() -> None:
    assert set(REASONS) == set(REASON_CODES)
    assert set(GTFS_STATUS) <= set(LEVELS) and set(LEVELS) <= set(SIRI_OCCUPANCY)


def test_reasons_are_in_words() -> None:
    assert reasons_in_words("event littleHistory") == "event nearby; few counts in the last 8 weeks"
    assert reasons_in_words(None) == reasons_in_words("") == ""
    assert reasons_in_words("newCode") == "newCode"


def test_names_stand_for_ids_and_ids_for_missing_names() -> None:
    names = Names(lines={"A": "31"}, stops={"S": "Stortinget"})
    frame = pl.DataFrame({"line_id": ["A", "RUT:Line:20"], "stop_id": ["S", "NSR:Quay:7064"]})
    labelled = names.labelled(frame)
    assert labelled["line"].to_list() == ["31", "20"]
    assert labelled["stop"].to_list() == ["Stortinget", "Quay 7064"]
    assert [last_part(value) for value in ("3", "R:3", "a:b:c:9")] == ["3", "3", "b:c 9"]


def test_lines_with_the_same_name_have_different_labels() -> None:
    lines = {"A:Line:1": "1", "B:Line:1": "1", "C:Line:1": "1", "D:Line:2": "2"}
    names = Names(
        lines=lines, modes={"A:Line:1": "metro", "B:Line:1": "bus", "C:Line:1": "bus", "D:Line:2": "bus"}
    )
    labels = names.line_labels()
    assert labels["D:Line:2"] == "2" and labels["A:Line:1"] == "1 (metro)"
    assert len(set(labels.values())) == len(labels)
    assert list(names.line_labels("metro")) == ["A:Line:1"]
    assert different({"x": "a", "y": "a", "z": "b"}) == {"x": "a (x)", "y": "a (y)", "z": "b"}


def test_escaped_text_is_no_markdown() -> None:
    assert escaped("a_b: *c*") == r"a\_b\: \*c\*"


def test_variants_of_the_tables_have_names() -> None:
    from ruter_dagster.contracts.scores import VARIANTS

    assert set(comparison.VARIANTS) == set(VARIANTS) and next(iter(comparison.VARIANTS)) == PUBLISHED
