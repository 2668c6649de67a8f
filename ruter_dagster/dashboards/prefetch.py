"""Reads what the first pages show before they are visited, so that the first visit finds the rows in memory."""

from __future__ import annotations

from ruter_dagster.dashboards.data import exceptions, tomorrow, yesterday
from ruter_dagster.dashboards.data.names import names_of
from ruter_dagster.dashboards.engine import Reader
from ruter_dagster.dashboards.pages.page import CachedReader
from ruter_dagster.dashboards.sources import Sources


def prefetch(sources: Sources) -> None:
    """Runs the queries of Tomorrow and Yesterday without filters. Their results are kept as those of the pages are.

    Raises `PermanentFailure` as the pages do.
    """
    reader = CachedReader(sources.engine.reader(), sources.state)
    _read_tomorrow(reader, sources)
    _read_yesterday(reader, sources)


def _read_tomorrow(reader: Reader, sources: Sources) -> None:
    published = tomorrow.newest_published(reader)
    if published is None:
        return
    day = published.operating_dates[1]
    names, selection = names_of(reader, day), tomorrow.Selection(day)
    rows = tomorrow.crowded_departures(reader, published, selection, names, sources.time_zone)
    tomorrow.totals(reader, published, selection, sources.crowded_probability)
    if rows.height:
        tomorrow.journey(reader, published, day, rows["trip_id"][0], names, sources.time_zone)
    tomorrow.crowded_stops(reader, published, selection, names)


def _read_yesterday(reader: Reader, sources: Sources) -> None:
    dates = yesterday.scored_dates(reader)
    if not dates:
        return
    selection = yesterday.Selection(dates[0])
    day, horizon = selection.operating_date, selection.horizon
    names = yesterday.with_scored_lines(reader, day, horizon, names_of(reader, day))
    yesterday.network_scores(reader, day, day, horizon)
    yesterday.scores_note(reader, day, horizon)
    lines = yesterday.line_scores(reader, selection, names)
    yesterday.worst_journeys(reader, selection, lines, names, sources.time_zone)
    exceptions.far_from_usual(reader, day, horizon)
