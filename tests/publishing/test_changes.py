"""A publication sends what changed since the newest one, and a tombstone for each journey that left the plan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo

import polars as pl
import pytest

from ruter_dagster.publishing import kafka
from ruter_dagster.publishing.changes import ReadFormer
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.consumer import read_current_journeys, read_markers, read_to_end
from ruter_dagster.publishing.kafka import Message, PublicationResult, publish
from ruter_dagster.publishing.markers import Marker, newest_marker
from ruter_dagster.publishing.messages import JOURNEY
from ruter_dagster.publishing.read_back import read_back
from ruter_dagster.publishing.topics import topics_of
from tests.publishing.samples import ISSUE_DATE, PUBLISHING

NEXT_DATE = ISSUE_DATE + timedelta(1)


class Forecasts:
    """Publishes forecasts, and keeps what each publication sent, as the table of forecasts does."""

    def __init__(self, connection: KafkaConnection, *, kept: bool = True) -> None:
        self.connection, self.kept = connection, kept
        self._rows: dict[tuple[date, str], pl.DataFrame] = {}

    def publish(
        self, rows: pl.DataFrame, content_hash: str, issue_date: date = ISSUE_DATE, **more
    ) -> PublicationResult:
        rows = rows.with_columns(issue_date=pl.lit(issue_date))
        self._rows[issue_date, content_hash] = rows
        arguments = PUBLISHING | {"issue_date": issue_date, "data_cutoff": issue_date - timedelta(1)} | more
        read_former: ReadFormer | None = self._read_former if self.kept else None
        return publish(rows, self.connection, content_hash=content_hash, read_former=read_former, **arguments)

    def _read_former(self, marker: Marker, columns: Sequence[str], where: pl.Expr) -> pl.DataFrame | None:
        return self._rows[marker.issue_date, marker.content_hash].filter(where).select(columns)


@pytest.fixture(params=[True, False], ids=["rows kept", "rows expired"])
def published(request: pytest.FixtureRequest, connection: KafkaConnection) -> Forecasts:
    return Forecasts(connection, kept=request.param)


def _later(forecasts: pl.DataFrame) -> pl.DataFrame:
    """Forecasts of the next issue date: the journeys of the same operating days, without the first day."""
    return forecasts.filter(pl.col("operating_date") >= NEXT_DATE).with_columns(pl.col("horizon_days") - 1)


def _without(forecasts: pl.DataFrame, number: int, day: date) -> pl.DataFrame:
    """The forecasts without the journeys of a number on an operating day."""
    trips = forecasts["trip_id"].unique().sort()
    return forecasts.filter((pl.col("trip_id") != trips[number]) | (pl.col("operating_date") != day))


def _assert_read(
    connection: KafkaConnection, rows: pl.DataFrame, result: PublicationResult, issue_date: date
) -> None:
    read = read_back(connection, result.publication_id, issue_date)
    assert read.faults(rows) == []
    for topic in (read.load_forecasts, read.occupancy_forecasts):
        assert topic.messages == result.marker.messages


def test_correction_sends_only_changed_journeys(
    published: Forecasts, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    first = published.publish(forecasts, "first")
    one = pl.int_range(pl.len()).is_in([7, 11, 900])
    changed = forecasts.with_columns(mean=pl.when(one).then(pl.col("mean") + 1).otherwise("mean"))
    journeys = forecasts.filter(one).select(JOURNEY).unique().height

    second = published.publish(changed, "second")

    assert second.marker.messages == (journeys if published.kept else 100)
    assert (second.marker.journeys, second.marker.tombstones) == (100, 0)
    assert second.marker.supersedes == first.publication_id
    _assert_read(connection, changed, second, ISSUE_DATE)


def test_correction_is_later_than_a_publication_of_a_fast_clock(
    forecasts: pl.DataFrame, connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Forecasts(connection)
    with monkeypatch.context() as patch:
        patch.setattr(kafka, "datetime", FastClock)
        first = published.publish(forecasts, "first").marker
    second = published.publish(forecasts[40:], "second").marker
    assert second.supersedes == first.publication_id
    assert second.published_at == first.published_at + timedelta(seconds=1)


class FastClock(datetime):
    """The clock of a host that is an hour ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(hours=1)


def test_difference_that_rounding_removes_is_not_sent(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    published = Forecasts(connection)
    published.publish(forecasts.with_columns(pl.col("mean").round(2)), "first")
    second = published.publish(forecasts.with_columns(pl.col("mean").round(2) + 0.000001), "second")
    assert second.outcome == "published"
    assert (second.marker.messages, second.marker.tombstones) == (0, 0)
    _assert_read(connection, forecasts, second, ISSUE_DATE)


@pytest.mark.parametrize(
    "column", ["reasons", "thresholds_version", "seats", "occupancy_level", "scheduled_departure_time"]
)
def test_change_of_any_attribute_is_sent(
    column: str, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    published = Forecasts(connection)
    published.publish(forecasts, "first")
    values = {
        "reasons": pl.lit("event"),
        "thresholds_version": pl.lit("other"),
        "seats": pl.col("seats") + 1,
        "occupancy_level": pl.lit("full"),
        "scheduled_departure_time": pl.col("scheduled_departure_time").dt.offset_by("1m"),
    }
    value = pl.when(pl.col("trip_id") == forecasts["trip_id"][0]).then(values[column]).otherwise(column)
    changed = forecasts.with_columns(value.alias(column))
    assert published.publish(changed, "second").marker.messages == 4


def test_removed_and_new_journeys_are_sent(
    published: Forecasts, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    day = ISSUE_DATE + timedelta(2)
    before = _without(forecasts, 3, day)
    after = _without(forecasts, 5, day)
    published.publish(before, "first")

    result = published.publish(after, "second")

    assert result.marker.tombstones == 1
    assert result.marker.messages == (1 if published.kept else 99)
    _assert_read(connection, after, result, ISSUE_DATE)
    for topic in topics_of(connection).message_topics:
        tombstones = [
            key for batch in read_to_end(connection, topic) for key, value in batch if value is None
        ]
        assert [key.decode()[:10] for key in tombstones] == [day.isoformat()]


def test_next_issue_date_sends_all_and_removes_journeys_that_left(
    published: Forecasts, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    published.publish(forecasts, "first")
    later = _without(_later(forecasts), 9, ISSUE_DATE + timedelta(3))

    result = published.publish(later, "of the next date", NEXT_DATE)

    assert (result.marker.messages, result.marker.tombstones, result.marker.supersedes) == (74, 1, None)
    _assert_read(connection, later, result, NEXT_DATE)
    # Journeys of the day before keep their last forecast.
    topic = topics_of(connection).load_forecasts
    assert read_current_journeys(connection, topic, ISSUE_DATE).height == 25 + 74


def test_day_without_forecasts_keeps_its_messages(
    published: Forecasts, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    missing = ISSUE_DATE + timedelta(2)
    published.publish(forecasts, "first")
    partial = _later(forecasts).filter(pl.col("operating_date") != missing)

    result = published.publish(partial, "without a day", NEXT_DATE)

    assert (result.marker.messages, result.marker.tombstones) == (50, 0)
    _assert_read(connection, partial, result, NEXT_DATE)
    topic = topics_of(connection).occupancy_forecasts
    assert read_current_journeys(connection, topic, NEXT_DATE).height == 75

    # The day is forecast later, and meanwhile a journey of it left the plan.
    whole = _without(_later(forecasts), 4, missing)
    result = published.publish(whole, "with all days", NEXT_DATE)
    assert result.marker.tombstones == 1
    _assert_read(connection, whole, result, NEXT_DATE)
    assert read_current_journeys(connection, topic, NEXT_DATE).height == 74


def test_removed_journey_that_returns_is_sent(
    published: Forecasts, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    published.publish(forecasts, "first")
    published.publish(_without(forecasts, 3, ISSUE_DATE), "second")
    third = published.publish(forecasts, "third")
    assert (third.marker.messages, third.marker.tombstones) == ((1 if published.kept else 100), 0)
    _assert_read(connection, forecasts, third, ISSUE_DATE)


def test_former_content_is_published_again_after_another(
    published: Forecasts, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    first = published.publish(forecasts, "first")
    second = published.publish(forecasts.with_columns(pl.col("mean") + 1), "second")
    third = published.publish(forecasts, "first")
    assert len({result.publication_id for result in (first, second, third)}) == 3
    assert third.outcome == "published"
    assert third.marker.supersedes == second.publication_id
    _assert_read(connection, forecasts, third, ISSUE_DATE)


def test_older_issue_date_never_supersedes_a_newer_one(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    published, later = Forecasts(connection), _later(forecasts)
    newer = published.publish(later, "of the next date", NEXT_DATE)
    statuses: list[Marker] = []

    older = published.publish(forecasts, "first", extra_messages=lambda m: statuses.append(m) or ())

    assert older.outcome == "superseded"
    assert older.marker == newer.marker
    assert statuses == []
    assert list(read_markers(connection)) == [newer.publication_id]
    _assert_read(connection, later, newer, NEXT_DATE)


def test_older_issue_date_that_was_published_stays_published(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    published = Forecasts(connection)
    first = published.publish(forecasts, "first")
    published.publish(_later(forecasts), "of the next date", NEXT_DATE)
    assert published.publish(forecasts, "first").marker == first.marker
    assert published.publish(forecasts, "first").outcome == "already_published"
    assert published.publish(forecasts, "corrected").outcome == "superseded"


def test_extra_messages_are_in_the_transaction(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    topic = topics_of(connection).publications

    def status(marker: Marker) -> list[Message]:
        return [Message(topic, "status", marker.to_json())]

    published = Forecasts(connection)
    result = published.publish(forecasts, "first", extra_messages=status)
    published.publish(forecasts, "first", extra_messages=status)
    messages = [key for batch in read_to_end(connection, topic) for key, _ in batch]
    assert messages == [b"status", result.publication_id.encode()]


def test_markers_of_version_1_count_for_nothing() -> None:
    old = Marker("old", NEXT_DATE, "hash", 1, 5, PUBLISHING["issued_at"])
    new = Marker("new", ISSUE_DATE, "hash", 2, 5, PUBLISHING["issued_at"])
    corrected = Marker("corrected", ISSUE_DATE, "hash", 2, 5, PUBLISHING["issued_at"])
    assert newest_marker([]) is None
    assert newest_marker([old]) is None
    assert newest_marker([new, corrected, old]) == corrected
