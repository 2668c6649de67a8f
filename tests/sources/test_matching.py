"""Counts matched to the plan: by id, else by line, direction, stops and time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ruter_dagster.sources.matching import BY_ID, BY_PATTERN, UNMATCHED, Aliases, match

START = datetime(2026, 11, 20, 8, tzinfo=UTC)
NONE = pl.Series([], dtype=pl.String)


def trip(
    trip_id: str, stops: str, minute: float = 0, line: str = "31", performed: str = "", sequences: str = ""
) -> pl.DataFrame:
    """Rows of a trip with one stop per letter, two minutes apart."""
    numbers = [int(number) for number in sequences] or list(range(1, len(stops) + 1))
    return pl.DataFrame(
        {
            "trip_id": trip_id,
            "trip_id_performed": performed or trip_id,
            "stop_sequence": pl.Series(numbers, dtype=pl.Int32),
            "line_id": line,
            "direction_id": 0,
            "stop_id": list(stops),
            "scheduled_departure_time": [
                START + timedelta(minutes=minute + 2 * place) for place in range(len(stops))
            ],
        }
    )


def matched(
    visits: pl.DataFrame, *plan: pl.DataFrame, added: tuple[str, ...] = ()
) -> tuple[list[tuple[str, int]], dict[str, int]]:
    rows, counts = match(
        visits,
        pl.concat(plan).drop("trip_id_performed").with_columns(block_id=pl.lit(None, pl.String)),
        pl.Series(added, dtype=pl.String),
    )
    return rows.select("trip_id", "stop_sequence").rows(), {
        name: count for name, count in counts.items() if count
    }


def test_trips_are_matched_by_id() -> None:
    assert matched(trip("s1", "ABC", performed="p1"), trip("s1", "ABC", 30)) == (
        [("s1", 1), ("s1", 2), ("s1", 3)],
        {BY_ID: 1},
    )


def test_trips_without_id_match_by_line_direction_stops_and_time() -> None:
    rows, counts = matched(
        trip("p1", "ABC", 1), trip("s0", "ABC", -9), trip("s1", "ABC"), trip("s2", "ABC", 11)
    )
    assert (rows[0], counts) == (("s1", 1), {BY_PATTERN: 1})


def test_trips_beyond_the_tolerance_are_not_matched() -> None:
    rows, counts = matched(trip("p1", "ABC", 11), trip("s1", "ABC"))
    assert (rows[0], counts) == (("p1", 1), {UNMATCHED: 1})


def test_trip_of_another_line_or_direction_is_not_matched() -> None:
    assert matched(trip("p1", "ABC"), trip("s1", "ABC", line="32"))[1] == {UNMATCHED: 1}
    other = trip("s1", "ABC").with_columns(direction_id=1)
    assert matched(trip("p1", "ABC"), other.with_columns(pl.col("direction_id").cast(pl.Int64)))[1] == {
        UNMATCHED: 1
    }


def test_trip_at_other_stops_is_not_matched() -> None:
    assert matched(trip("p1", "ABX"), trip("s1", "ABC"))[1] == {UNMATCHED: 1}
    assert matched(trip("p1", "ACB"), trip("s1", "ABC"))[1] == {UNMATCHED: 1}


def test_journey_is_matched_once_to_the_nearest_trip() -> None:
    visits = pl.concat([trip("p1", "ABC", 4), trip("p2", "ABC", 1)])
    rows, counts = matched(visits, trip("s1", "ABC"))
    assert ([rows[0], rows[3]], counts) == ([("p1", 1), ("s1", 1)], {BY_PATTERN: 1, UNMATCHED: 1})


def test_journey_matched_by_id_is_not_matched_again() -> None:
    visits = pl.concat([trip("s1", "ABC", 3, performed="p1"), trip("p2", "ABC")])
    assert matched(visits, trip("s1", "ABC"))[1] == {BY_ID: 1, UNMATCHED: 1}


def test_skipped_stops_do_not_shift_other_sequences() -> None:
    """TIDES numbers the visits made; the plan numbers the stops planned."""
    rows, _ = matched(trip("s1", "ACD", performed="p1"), trip("s1", "ABCD"))
    assert rows == [("s1", 1), ("s1", 3), ("s1", 4)]
    rows, counts = matched(trip("p1", "BD", 2), trip("s1", "ABCD"))
    assert (rows, counts) == ([("s1", 2), ("s1", 4)], {BY_PATTERN: 1})


def test_matched_visits_get_the_planned_direction() -> None:
    """TIDES leaves the direction of a circular line out; it is read as 0."""
    plan = trip("s1", "ABC").with_columns(direction_id=pl.lit(1, pl.Int64), block_id=None)
    rows, _ = match(trip("s1", "ABC", performed="p1"), plan, NONE)
    assert rows["direction_id"].unique().to_list() == [1]


def test_matched_visits_without_block_get_the_planned_block() -> None:
    plan = pl.concat([trip("s1", "ABC"), trip("s2", "ABC", 30)]).with_columns(block_id=pl.lit("b1"))
    visits = pl.concat(
        [
            trip("s1", "ABC").with_columns(block_id=pl.lit(None, pl.String)),
            trip("s2", "ABC", 30).with_columns(block_id=pl.lit("own")),
        ]
    )
    rows, _ = match(visits, plan, NONE)
    assert rows.select("trip_id", "block_id").unique().sort("trip_id").rows() == [("s1", "b1"), ("s2", "own")]


def test_second_call_at_a_stop_has_its_own_sequence() -> None:
    rows, _ = matched(trip("s1", "ABCA", performed="p1"), trip("s1", "ABCA"))
    assert [place for _, place in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("performed", "planned", "expected"),
    [
        # A number that the plan has for another stop goes under the performed trip's id.
        ("AXBC", "ABC", ["s1 1", "p1 2", "p1 3", "p1 4"]),
        ("XABC", "ABC", ["p1 1", "p1 2", "p1 3", "p1 4"]),
        ("ABCX", "ABC", ["s1 1", "s1 2", "s1 3", "p1 4"]),
        # A stop in place of another, and one added where the trip skips another.
        ("AXC", "ABC", ["s1 1", "p1 2", "s1 3"]),
        ("AXBD", "ABCD", ["s1 1", "p1 2", "p1 3", "s1 4"]),
        ("ACBD", "ABCD", ["s1 1", "s1 3", "p1 4", "p1 5"]),
        # Loops serve a stop twice.
        ("BCA", "ABCA", ["s1 2", "s1 3", "s1 4"]),
        ("CAE", "ABCDAE", ["s1 3", "p1 4", "s1 6"]),
    ],
)
def test_visits_get_planned_keys_of_their_own_stops_only(
    performed: str, planned: str, expected: list[str]
) -> None:
    """Loads are joined to the plan by trip and sequence: a visit must not get those of another stop."""
    rows, counts = matched(trip("s1", performed, performed="p1"), trip("s1", planned))
    assert ([f"{name} {place}" for name, place in rows], counts) == (expected, {BY_ID: 1})


def test_id_does_not_match_on_another_line_or_stops() -> None:
    """Such a trip gets an id that no planned journey has."""
    plan = trip("1", "ABC", 90)
    assert matched(trip("1", "ABC", line="32"), plan) == (
        [("performed:1", n) for n in (1, 2, 3)],
        {UNMATCHED: 1},
    )
    assert matched(trip("1", "XYC"), plan) == ([("performed:1", n) for n in (1, 2, 3)], {UNMATCHED: 1})


def test_added_trips_are_not_matched_by_their_stops() -> None:
    """The cancelled journey keeps no truth; the trip that ran instead keeps its counts under its own id."""
    rows, counts = matched(trip("extra", "ABC"), trip("s1", "ABC"), added=("extra",))
    assert (rows[0], counts) == (("extra", 1), {UNMATCHED: 1})


def test_unknown_scheduled_id_is_replaced_by_performed_id() -> None:
    rows, _ = matched(trip("s9", "ABC", performed="p9"), trip("s1", "ABC", 90))
    assert rows[0] == ("p9", 1)


def test_lines_and_stops_are_known_by_short_name_and_code() -> None:
    aliases = Aliases.of(
        pl.DataFrame({"route_id": ["R:31", "R:32", "32"], "route_short_name": ["31", "32", None]}),
        pl.DataFrame({"stop_id": ["Q1", "Q2", "Q3"], "stop_code": ["7501", "7502", "7502"]}),
    )
    rows = pl.DataFrame({"line_id": ["31", "32", "R:31"], "stop_id": ["7501", "7502", "Q3"]})
    assert aliases.apply(rows).rows() == [("R:31", "Q1"), ("32", "7502"), ("R:31", "Q3")]


@pytest.mark.parametrize("sequences", ["123", "234"], ids=["same sequences", "other sequences"])
@pytest.mark.parametrize(("minute", "kind"), [(60, BY_ID), (-60, BY_ID), (61, UNMATCHED), (-61, UNMATCHED)])
def test_id_matches_only_within_an_hour(sequences: str, minute: int, kind: str) -> None:
    assert matched(trip("s1", "ABC", minute, sequences=sequences), trip("s1", "ABC"))[1] == {kind: 1}


def test_renumbered_trips_are_matched_by_pattern() -> None:
    """The newer feed calls the trip of 08:00 s2, and the one of 10:00 s1."""
    visits = pl.concat([trip("s1", "ABC", performed="p1"), trip("s2", "ABC", 120, performed="p2")])
    rows, counts = matched(visits, trip("s1", "ABC", 120), trip("s2", "ABC"))
    assert ([rows[0], rows[3]], counts) == ([("s2", 1), ("s1", 1)], {BY_PATTERN: 2})


def test_id_does_not_match_with_stops_in_another_order() -> None:
    """The newer feed gives the id to the way back, which the trip does not run."""
    rows, counts = matched(trip("s1", "DCBA", performed="p1"), trip("s1", "ABCD"))
    assert (rows, counts) == ([("p1", n) for n in (1, 2, 3, 4)], {UNMATCHED: 1})


def test_id_matches_across_a_clock_change() -> None:
    """01:55 and 03:10 in Oslo are 15 minutes apart on the day of 23 hours."""
    before, after = datetime(2026, 3, 29, 0, 55, tzinfo=UTC), datetime(2026, 3, 29, 1, 10, tzinfo=UTC)
    oslo = ZoneInfo("Europe/Oslo")
    assert (after.astimezone(oslo).hour, before.astimezone(oslo).hour) == (3, 1)
    times = {
        when: trip("s1", "ABC").with_columns(
            scheduled_departure_time=pl.lit(when) + pl.duration(minutes=pl.int_range(3))
        )
        for when in (before, after)
    }
    assert matched(times[after], times[before])[1] == {BY_ID: 1}


def test_trips_without_a_scheduled_time_are_matched_by_id() -> None:
    visits = trip("s1", "ABC").with_columns(scheduled_departure_time=pl.lit(None, pl.Datetime("us", "UTC")))
    assert matched(visits, trip("s1", "ABC", 90))[1] == {BY_ID: 1}
    assert matched(visits.with_columns(stop_sequence=pl.col("stop_sequence") + 1), trip("s1", "ABC", 90))[
        1
    ] == {BY_ID: 1}
