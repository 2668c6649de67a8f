"""The dashboard's queries, each written once. DuckDB runs them on a state's files, and Athena after translation by sqlglot.

Only SQL that both understand: no function of one of them, times in UTC, no implicit casts of dates. An optional filter is a
parameter that may be null.
"""

from __future__ import annotations

from ruter_dagster.contracts.scores import LINE_SCORES, STOP_SCORES, SUMS
from ruter_dagster.contracts.tables import (
    DRIFT,
    FORECAST_PERFORMANCE,
    LOAD_FORECASTS,
    PLANNED_DEPARTURES,
    PUBLICATIONS,
    REJECTED_VISITS,
)
from ruter_dagster.dashboards.engine import Dates, Query

_ONE_ISSUE_DATE = {LOAD_FORECASTS: Dates("issue_date", "issue_date")}
_ONE_OPERATING_DATE = {FORECAST_PERFORMANCE: Dates("operating_date", "operating_date")}
_PERIOD = Dates("first", "last")

_SELECTED_FORECASTS = """\
FROM "${database}"."forecasts_load_forecasts"
WHERE issue_date = $issue_date AND operating_date = $operating_date
  AND slot_hour BETWEEN $first_hour AND $last_hour
  AND (CAST($mode AS varchar) IS NULL OR mode = CAST($mode AS varchar))
  AND (CAST($line AS varchar) IS NULL OR line_id = CAST($line AS varchar))
  AND (CAST($stop AS varchar) IS NULL OR stop_id IN (
    SELECT stop_id FROM "${database}"."raw_planned_departures"
    WHERE service_date = $operating_date AND coalesce(stop_name, stop_id) = CAST($stop AS varchar)))"""
_FORECASTS_AND_PLAN = {**_ONE_ISSUE_DATE, PLANNED_DEPARTURES: Dates("operating_date", "operating_date")}

NEWEST_PUBLICATION = Query(
    "The newest publication of an issue date: the one that no other corrects, whatever the clocks of their hosts said",
    """\
SELECT issue_date, publication_id, content_hash, snapshot_id, published_at, degraded
FROM "${database}"."forecasts_publications"
WHERE issue_date = $issue_date AND publication_id NOT IN (
  SELECT supersedes FROM "${database}"."forecasts_publications"
  WHERE issue_date = $issue_date AND supersedes IS NOT NULL)
ORDER BY published_at DESC, publication_id
LIMIT 1""",
    {PUBLICATIONS: Dates("issue_date", "issue_date")},
)

FORECAST_TOTALS = Query(
    "Selected forecasts of an operating date: one row of counts. `crowded` departures have at least P(load > seats) = $crowded_probability",
    f"""\
SELECT count(*) AS departures, count(DISTINCT trip_id) AS journeys, sum(mean) AS mean,
  sum(prob_above_seats) AS expected_above_seats,
  CAST(sum(CASE WHEN prob_above_seats >= CAST($crowded_probability AS double) THEN 1
    WHEN prob_above_seats < CAST($crowded_probability AS double) THEN 0 END) AS bigint) AS crowded,
  CAST(sum(CASE WHEN source = 'fallback' THEN 1 ELSE 0 END) AS bigint) AS fallback
{_SELECTED_FORECASTS}""",
    _FORECASTS_AND_PLAN,
)

_FORECAST_COLUMNS = """\
operating_date, scheduled_departure_time, mode, line_id, direction_id, stop_id, trip_id, stop_sequence, seats,
  total_capacity, mean, p10, p50, p90, prob_above_seats, occupancy_level, source, expected_tier, history_count, reasons"""

MOST_CROWDED = Query(
    "The selected journeys, each at its most crowded stop, the most crowded first: by P(load > seats), then by mean",
    f"""\
SELECT {_FORECAST_COLUMNS}
FROM (
  SELECT {_FORECAST_COLUMNS},
    row_number() OVER (PARTITION BY trip_id ORDER BY prob_above_seats DESC NULLS LAST, mean DESC, stop_sequence) AS stop_rank
  {_SELECTED_FORECASTS}
    AND trip_id IN (
      SELECT trip_id
      {_SELECTED_FORECASTS}
      GROUP BY trip_id
      ORDER BY max(prob_above_seats) DESC NULLS LAST, max(mean) DESC, trip_id
      LIMIT 100)) AS departures
WHERE stop_rank = 1
ORDER BY prob_above_seats DESC NULLS LAST, mean DESC, scheduled_departure_time, trip_id, stop_sequence""",
    _FORECASTS_AND_PLAN,
)

STOP_CROWDING = Query(
    "The selected departures by stop: how many, how many are expected above their seats, and the largest probability",
    f"""\
SELECT stop_id, count(*) AS departures, sum(mean) AS mean, sum(prob_above_seats) AS expected_above_seats,
  max(prob_above_seats) AS prob_above_seats
{_SELECTED_FORECASTS}
GROUP BY stop_id""",
    _FORECASTS_AND_PLAN,
)

JOURNEY_FORECAST = Query(
    "The forecasts along one service journey, in stop order",
    """\
SELECT operating_date, scheduled_departure_time, mode, line_id, direction_id, stop_id, trip_id, stop_sequence, seats,
  total_capacity, mean, p10, p50, p90, prob_above_seats, ha4, occupancy_level, source, history_count, reasons
FROM "${database}"."forecasts_load_forecasts"
WHERE issue_date = $issue_date AND operating_date = $operating_date AND trip_id = $trip
ORDER BY stop_sequence""",
    _ONE_ISSUE_DATE,
)

FORECAST_SUMS = Query(
    "All forecasts of an issue date by operating date, mode and line: sums",
    """\
SELECT operating_date, mode, line_id, count(*) AS departures, sum(mean) AS mean, sum(p90 - p10) AS width,
  sum(prob_above_seats) AS expected_above_seats
FROM "${database}"."forecasts_load_forecasts"
WHERE issue_date = $issue_date
GROUP BY operating_date, mode, line_id
ORDER BY operating_date, mode, line_id""",
    _ONE_ISSUE_DATE,
)

LINES = Query(
    "The lines of a service date, with their names",
    """\
SELECT line_id, max(line_name) AS line_name, max(mode) AS mode
FROM "${database}"."raw_planned_departures"
WHERE service_date = $service_date
GROUP BY line_id
ORDER BY line_id""",
    {PLANNED_DEPARTURES: Dates("service_date", "service_date")},
)

STOPS = Query(
    "The stops of a service date, with their names and coordinates",
    """\
SELECT stop_id, max(stop_name) AS stop_name, max(latitude) AS latitude, max(longitude) AS longitude
FROM "${database}"."raw_planned_departures"
WHERE service_date = $service_date
GROUP BY stop_id
ORDER BY stop_id""",
    {PLANNED_DEPARTURES: Dates("service_date", "service_date")},
)

_SUMS = ", ".join(
    f"CAST(sum({column.name}) AS {'bigint' if column.type == 'int64' else 'double'}) AS {column.name}"
    for column in SUMS
)
"""The sums have the types of the contract: DuckDB's own type for sums of integers is no integer of polars."""

NETWORK_SCORES = Query(
    "Scores of the published forecasts by operating date: sums",
    f"""\
SELECT operating_date, {_SUMS}
FROM "${{database}}"."monitoring_line_scores"
WHERE operating_date BETWEEN $first AND $last AND horizon_days = $horizon AND variant = 'published'
  AND (CAST($mode AS varchar) IS NULL OR mode = CAST($mode AS varchar))
  AND (CAST($line AS varchar) IS NULL OR line_id = CAST($line AS varchar))
GROUP BY operating_date
ORDER BY operating_date""",
    {LINE_SCORES: _PERIOD},
)

LINE_DAY_SCORES = Query(
    "Scores of the published forecasts between two operating dates by line: sums",
    f"""\
SELECT mode, line_id, {_SUMS}
FROM "${{database}}"."monitoring_line_scores"
WHERE operating_date BETWEEN $first AND $last AND horizon_days = $horizon AND variant = 'published'
  AND (CAST($mode AS varchar) IS NULL OR mode = CAST($mode AS varchar))
GROUP BY mode, line_id
ORDER BY absolute_error DESC, line_id""",
    {LINE_SCORES: _PERIOD},
)

USUAL_LINE_SCORES = Query(
    "The usual WAPE of the published forecasts by line: of the whole period, and mean and deviation of its operating dates",
    """\
SELECT mode, line_id, count(*) AS dates, sum(absolute_error) / sum(load) AS usual_wape,
  avg(absolute_error / load) AS mean_wape, stddev_samp(absolute_error / load) AS deviation
FROM (
  SELECT operating_date, mode, line_id, sum(absolute_error) AS absolute_error, sum(load) AS load
  FROM "${database}"."monitoring_line_scores"
  WHERE operating_date BETWEEN $first AND $last AND horizon_days = $horizon AND variant = 'published'
  GROUP BY operating_date, mode, line_id) AS days
WHERE load > 0
GROUP BY mode, line_id
ORDER BY mode, line_id""",
    {LINE_SCORES: _PERIOD},
)

VARIANT_SCORES = Query(
    "Scores of each variant of the forecast between two operating dates by mode: sums",
    f"""\
SELECT variant, mode, {_SUMS}
FROM "${{database}}"."monitoring_line_scores"
WHERE operating_date BETWEEN $first AND $last AND horizon_days = $horizon
GROUP BY variant, mode
ORDER BY variant, mode""",
    {LINE_SCORES: _PERIOD},
)

VARIANT_DAYS = Query(
    "Scores of each variant of the forecast by operating date: sums",
    f"""\
SELECT operating_date, variant, {_SUMS}
FROM "${{database}}"."monitoring_line_scores"
WHERE operating_date BETWEEN $first AND $last AND horizon_days = $horizon
GROUP BY operating_date, variant
ORDER BY operating_date, variant""",
    {LINE_SCORES: _PERIOD},
)

STOP_DAY_SCORES = Query(
    "Scores of the published forecasts of a line by stop and direction, between two operating dates: sums",
    f"""\
SELECT direction_id, stop_id, {_SUMS}
FROM "${{database}}"."monitoring_stop_scores"
WHERE operating_date BETWEEN $first AND $last AND horizon_days = $horizon AND variant = 'published' AND line_id = $line
GROUP BY direction_id, stop_id
ORDER BY absolute_error DESC, stop_id, direction_id""",
    {STOP_SCORES: _PERIOD},
)

_DEPARTURES = """\
SELECT operating_date, horizon_days, scheduled_departure_time, slot_hour, mode, line_id, direction_id, stop_id, trip_id,
  stop_sequence, seats, total_capacity, load, mean, p10, p50, p90, prob_above_seats, ha4, last_week, abs(mean - load) AS absolute_error,
  load BETWEEN p10 AND p90 AS covered, source, expected_tier, reasons
FROM "${database}"."monitoring_forecast_performance"
WHERE operating_date = $operating_date AND horizon_days = $horizon"""

_OF_MODE_AND_LINE = """\
  AND (CAST($mode AS varchar) IS NULL OR mode = CAST($mode AS varchar))
  AND (CAST($line AS varchar) IS NULL OR line_id = CAST($line AS varchar))"""
MIN_WIDTH = 10
"""Passengers between P10 and P90 that an interval counts at least, so that journeys with few passengers are not the worst ones."""

WORST_JOURNEYS = Query(
    "The journeys with the worst forecasts of a date, each at its worst stop. $order = 'error': by the largest absolute error at a "
    "stop, else by `surprise`, the sum of absolute errors / the sum of the widths of P10-P90. `below` and `above` count stops with a "
    "load below P10 and above P90",
    f"""\
SELECT *
FROM (
  SELECT departures.*, journeys.surprise, journeys.journey_departures, journeys.below, journeys.above,
    row_number() OVER (PARTITION BY departures.trip_id ORDER BY departures.absolute_error DESC, departures.stop_sequence) AS stop_rank
  FROM (
    {_DEPARTURES}) AS departures
  JOIN (
    SELECT trip_id AS journey, sum(abs(mean - load)) / greatest(sum(p90 - p10), {MIN_WIDTH}.0 * count(*)) AS surprise,
      max(abs(mean - load)) AS largest_error, count(*) AS journey_departures,
      CAST(sum(CASE WHEN load < p10 THEN 1 ELSE 0 END) AS bigint) AS below,
      CAST(sum(CASE WHEN load > p90 THEN 1 ELSE 0 END) AS bigint) AS above
    FROM "${{database}}"."monitoring_forecast_performance"
    WHERE operating_date = $operating_date AND horizon_days = $horizon
    {_OF_MODE_AND_LINE}
    GROUP BY trip_id
    ORDER BY CASE WHEN CAST($order AS varchar) = 'error' THEN max(abs(mean - load))
      ELSE sum(abs(mean - load)) / greatest(sum(p90 - p10), {MIN_WIDTH}.0 * count(*)) END DESC, trip_id
    LIMIT 50) AS journeys ON departures.trip_id = journeys.journey) AS worst
WHERE stop_rank = 1
ORDER BY CASE WHEN CAST($order AS varchar) = 'error' THEN absolute_error ELSE surprise END DESC, trip_id""",
    _ONE_OPERATING_DATE,
)

JOURNEY_PERFORMANCE = Query(
    "Forecasts and observed loads along one service journey, in stop order",
    f"""\
{_DEPARTURES} AND trip_id = $trip
ORDER BY stop_sequence""",
    _ONE_OPERATING_DATE,
)

PERFORMANCE_SUMS = Query(
    "All scored forecasts of a date: sums, to compare with those of the lines' scores",
    """\
SELECT count(*) AS matched, sum(load) AS load, sum(mean) AS mean
FROM "${database}"."monitoring_forecast_performance"
WHERE operating_date = $operating_date AND horizon_days = $horizon""",
    _ONE_OPERATING_DATE,
)

JOURNEYS_OF_LINE = Query(
    "The service journeys of a line on a date: sums over their stops",
    """\
SELECT trip_id, direction_id, min(scheduled_departure_time) AS scheduled_departure_time, min(slot_hour) AS slot_hour, count(*) AS departures,
  sum(load) AS load, max(load) AS largest_load, sum(mean) AS mean, sum(abs(mean - load)) AS absolute_error,
  CAST(sum(CASE WHEN load BETWEEN p10 AND p90 THEN 1 ELSE 0 END) AS bigint) AS covered, max(seats) AS seats
FROM "${database}"."monitoring_forecast_performance"
WHERE operating_date = $operating_date AND horizon_days = $horizon AND line_id = $line
GROUP BY trip_id, direction_id
ORDER BY absolute_error DESC, trip_id""",
    _ONE_OPERATING_DATE,
)

DRIFT_MEASURES = Query(
    "Drift metrics between two operating dates, with thresholds and verdicts",
    """\
SELECT operating_date, metric, scope, value, warn, act, verdict, detail
FROM "${database}"."monitoring_drift"
WHERE operating_date BETWEEN $first AND $last
ORDER BY metric, scope, operating_date""",
    {DRIFT: _PERIOD},
)

REJECTED_BY_REASON = Query(
    "The rejected visits between two operating dates, by date and reason, the newest date first",
    """\
SELECT service_date, reason, count(*) AS visits, CAST(sum(CASE WHEN kept_without_counts THEN 1 ELSE 0 END) AS bigint) AS kept_without_counts,
  max(CASE WHEN date_blocked THEN 1 ELSE 0 END) AS blocked
FROM "${database}"."raw_rejected_visits"
WHERE service_date BETWEEN $first AND $last
GROUP BY service_date, reason
ORDER BY service_date DESC, visits DESC, reason""",
    {REJECTED_VISITS: _PERIOD},
)

QUERIES = {name: value for name, value in globals().items() if isinstance(value, Query)}
"""Every query by its name."""
