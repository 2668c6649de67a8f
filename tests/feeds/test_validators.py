"""Feeds judged by others: SIRI's XML schema, and the rules of GTFS-realtime on the GTFS feed that the plan comes from."""

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from gtfs_rt_validator.api import Mode, Request, resolve, validate
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ruter_dagster.feeds.calls import CALL_COLUMNS, FeedHeader, calls_by_day
from ruter_dagster.feeds.formats import feed_files
from ruter_dagster.feeds.siri import invalid_identifiers
from tests.feeds.samples import HEADER, forecasts
from tests.feeds.siri_schema import siri_schema
from tests.sources.gtfs_feed import FEED, FRIDAY, SATURDAY, feed_of, write_zip

pytestmark = pytest.mark.extended

GTFS = FEED | {
    "agency.txt": "agency_id,agency_name,agency_url,agency_timezone\nR,Ruter,https://example.org,Europe/Oslo\n"
}
FREQUENCIES = {
    "frequencies.txt": "trip_id,start_time,end_time,headway_secs,exact_times\ntram,07:00:00,08:00:00,1200,1\n"
}
PUBLISHED_AT = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
WARNINGS = {
    "W002",  # No vehicle is known before the day.
    "P008",  # A forecast of the load predicts no times.
}
FREQUENCY_WARNING = "W009"  # Whether a run of a frequency is SCHEDULED or UNSCHEDULED is unknown.


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return siri_schema(tmp_path_factory.mktemp("siri"))


def documents(*, awkward: bool) -> list[tuple[list[str], Any]]:
    """Identifiers that are no tokens, and the document, of each day."""
    return [
        (invalid_identifiers(calls), etree.fromstring(gzip.decompress(file.content)))
        for calls in calls_by_day(forecasts(awkward=awkward))
        for file in feed_files(calls, HEADER, ["siri-et"])
    ]


def test_siri_schema_accepts_the_documents(schema: Any) -> None:
    for invalid, document in documents(awkward=False):
        assert invalid == []
        schema.assertValid(document)


def test_siri_schema_refuses_exactly_the_identifiers_of_the_warning(schema: Any) -> None:
    for invalid, document in documents(awkward=True):
        assert not schema.validate(document)
        refused = {error.message.split("'")[3] for error in schema.error_log}
        assert refused == set(invalid)


def test_siri_schema_refuses_a_level_that_does_not_exist(schema: Any) -> None:
    _, document = documents(awkward=False)[0]
    next(document.iter("{*}OccupancyLevel")).text = "veryFull"
    assert not schema.validate(document)


def test_gtfs_realtime_rules_find_no_error(tmp_path: Path) -> None:
    assert findings(tmp_path, GTFS) == WARNINGS


def test_runs_of_frequencies_cause_no_error(tmp_path: Path) -> None:
    assert findings(tmp_path, GTFS | FREQUENCIES) == {*WARNINGS, FREQUENCY_WARNING}


def test_wrong_numbers_of_stops_break_rules(tmp_path: Path) -> None:
    found = findings(tmp_path, GTFS, replace(header(), first_stop_sequence=1))
    assert {"E045", "E051"} & found


def header() -> FeedHeader:
    return replace(HEADER, published_at=PUBLISHED_AT, first_stop_sequence=None)


def findings(folder: Path, feed: dict[str, str], feed_header: FeedHeader | None = None) -> set[str]:
    """The rules that the TripUpdates of each day of a GTFS feed break, at the time of publication."""
    archive = write_zip(folder / "gtfs.zip", feed)
    plan = pl.concat([feed_of(archive).departures(day) for day in (FRIDAY, SATURDAY)])
    planned = plan.rename({"service_date": "operating_date"}).with_columns(
        occupancy_level=pl.lit("fewSeatsAvailable"), occupancy_status=pl.lit(2, dtype=pl.Int32)
    )
    found: set[str] = set()
    for calls in calls_by_day(planned.select(CALL_COLUMNS)):
        for file in feed_files(calls, feed_header or header(), ["gtfs-realtime"]):
            path = folder / f"{calls.operating_day}.pb"
            path.write_bytes(file.content)
            at = PUBLISHED_AT + timedelta(seconds=5)
            result = validate(Request(mode=Mode.MODERN, gtfs=archive, inputs=resolve(str(path)), at=at))
            assert result.run.messages_validated == 1 and not result.run.system_errors.rule_ids()
            found |= set(result.run.notices.rule_ids())
    return found
