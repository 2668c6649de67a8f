"""Bad input through the chain: the step names the fault and the remedy, later steps do not run, and former rows stay.

`tests/sources` tests each kind of fault; here each way of refusing one is tested once.
"""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from ruter_dagster.contracts.features import LEVELS
from ruter_dagster.contracts.tables import LOAD_FORECASTS, REJECTED_VISITS, STOP_LOADS, STOP_VISITS
from tests.chain.local_chain import Chain
from tests.chain.tides_days import (
    DAY,
    NEW,
    Spoil,
    append,
    cut_off,
    replace,
    visits_file,
    without_trips,
)

RAW, QUALITY, LOADS = "raw/stop_visits", "quality/stop_visits", "loads/stop_loads"
FORECASTS, PUBLISHED = "forecasts/load_forecasts", "forecasts/published_forecasts"
SPOILT = f"stop_visits/{NEW}.csv"
ONE_BAD_CELL = replace("solli,DATET07:20:00+01:00,0,", "solli,DATET07:20:00+01:00,-3,")

FAULTS: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "missing column": (
        replace("trip_stop_sequence", "sequence"),
        (f"{SPOILT} lacks the column trip_stop_sequence", "it has service_date"),
    ),
    "too many bad rows": (
        replace("solli,DATET07:20:00+01:00,0,", "solli,DATET07:20:00+01:00,-3,", also=(
            ("DATE,p1,1,v1", "DATE,p1,0,v1"),
            ("DATE,p2,1,v1,jernbanetorget", "DATE,p2,1,v1,"),
        )),
        (
            f"service_date {NEW} is blocked: 7.5% of its rows were rejected (3 of 40 rows), the limit is 2.0%",
            "boarding_1 is below 0 (1 rows)", f"{SPOILT}, line 5: boarding_1 is below 0:", f"ruter-dagster rejected --date {NEW}",
        ),
    ),
    "date that is absent": (
        lambda folder, day: visits_file(folder, day).unlink(),
        (f"no counted visit on {NEW}", "it has 6 dates from 2025-03-10 to 2025-03-16"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_new_date_that_breaks_the_contract_is_refused(chain: Chain, fault: str) -> None:
    spoil, words = FAULTS[fault]
    before = chain.content()
    spoil(chain.tides, NEW)

    outcome = chain.run("counts", NEW)

    assert outcome.asset == RAW
    for word in words:
        assert word in outcome.message
    assert outcome.started == {RAW: 1}, "what is permanent is not retried, and nothing after it starts"
    assert not outcome.retried and not outcome.materialised
    message = chain.refuse(LOADS, "counts", NEW)
    assert message == f"raw.stop_visits has no service_date {NEW}. Materialise {RAW} for it first."
    assert chain.content() == before


def test_bad_rows_are_rejected_until_corrected(chain: Chain) -> None:
    """In one trip a count below 0, in another a row twice, an unknown trip type and a time without offset."""
    before, correct = chain.content(), visits_file(chain.tides, DAY).read_text()
    ONE_BAD_CELL(chain.tides, DAY)
    append("DATE,p3,2,v1,stortinget,DATET10:10:00,2,1,9\n")(chain.tides, DAY)
    visits_file(chain.tides, DAY).write_text(
        visits_file(chain.tides, DAY)
        .read_text()
        .replace(f"stortinget,{DAY}T10:10:00+01:00", f"stortinget,{DAY}T10:10:00")
    )

    outcome = chain.run("counts", DAY, assets=(RAW, QUALITY, LOADS))

    assert outcome.succeeded, outcome.message
    assert (outcome.warned, outcome.blocked) == (["few_rejected_rows"], [])
    (row,) = chain.store.read(REJECTED_VISITS, [DAY]).to_dicts()
    assert (row["reason"], row["line_number"], row["kept_without_counts"]) == (
        "boarding_1 is below 0",
        5,
        True,
    )
    assert chain.store.read(STOP_LOADS, [DAY]).height == 40

    visits_file(chain.tides, DAY).write_text(correct)
    assert chain.run("counts", DAY, assets=(RAW, QUALITY, LOADS)).succeeded
    assert chain.store.read(REJECTED_VISITS, [DAY]).is_empty()
    assert chain.content(STOP_LOADS)[STOP_LOADS.name][1] == before[STOP_LOADS.name][1]


def test_range_omits_its_blocked_date(chain: Chain) -> None:
    spoil, _ = FAULTS["too many bad rows"]
    spoil(chain.tides, NEW)

    outcome = chain.run("counts", NEW, NEW + timedelta(1), assets=(RAW, QUALITY, LOADS))

    assert outcome.succeeded, outcome.message
    assert outcome.blocked == ["no_date_blocked"], "shown, and it blocks nothing"
    after = chain.content(STOP_VISITS, STOP_LOADS)
    for table in (STOP_VISITS, STOP_LOADS):
        assert NEW not in after[table.name][1]
        assert NEW + timedelta(1) in after[table.name][1]
    assert chain.store.read(REJECTED_VISITS, [NEW])["date_blocked"].to_list() == [True] * 3


def test_forecasts_without_their_input_are_refused(chain: Chain) -> None:
    issue_date, before = NEW + timedelta(1), chain.content()
    cut_off(chain.tides, NEW)
    assert not chain.run("counts", NEW).succeeded

    both = chain.run("forecasting", issue_date, assets=(FORECASTS, PUBLISHED))

    assert both.started == {FORECASTS: 1}
    assert f"features.levels has no issue_date {issue_date}. Materialise features/levels" in both.message
    message = chain.refuse(PUBLISHED, "forecasting", issue_date)
    assert f"forecasts.load_forecasts has no issue_date {issue_date}. Materialise {FORECASTS}" in message
    message = chain.refuse(QUALITY, "counts", NEW)
    assert f"raw.stop_visits has no service_date {NEW}. Materialise {RAW}" in message
    assert chain.content() == before


def test_range_without_input_is_refused(chain: Chain) -> None:
    before = chain.content()

    outcome = chain.run("counts", NEW, NEW + timedelta(1), assets=(LOADS,))

    assert outcome.started == {LOADS: 1} and not outcome.retried and not outcome.materialised
    assert (
        f"has no service_date {NEW}, {NEW + timedelta(1)}. Materialise {RAW} for it first" in outcome.message
    )
    assert chain.content() == before


def test_refused_correction_of_a_date_keeps_its_former_rows(chain: Chain) -> None:
    spoil, _ = FAULTS["too many bad rows"]
    before = chain.content()
    spoil(chain.tides, DAY)

    outcome = chain.run("counts", DAY)

    assert outcome.asset == RAW
    assert outcome.started == {RAW: 1}
    assert chain.content() == before
    assert chain.run("counts", DAY, assets=(LOADS,)).succeeded, "the former rows passed and stand"
    assert chain.content() == before, "from the same rows the same loads: nothing is written"


def test_date_with_many_unknown_stops_is_kept_as_raw_but_refused(chain: Chain) -> None:
    """The source's own plan would hold the stop too: the plan of the date was read before."""
    day = DAY
    assert chain.run("plan", day, assets=("raw/planned_departures",)).succeeded
    before, former = chain.content(), chain.store.snapshot(STOP_VISITS)
    rows = former.read(former.dates())
    correct = visits_file(chain.tides, day).read_text()
    replace("solli", "nowhere")(chain.tides, day)

    outcome = chain.run("counts", day)

    assert (outcome.asset, outcome.blocked) == (QUALITY, ["few_visits_at_unknown_stops"])
    assert (
        "blocked by few_visits_at_unknown_stops: observed 0.25 of the rows at unknown stop points"
        in outcome.message
    )
    assert f"fails on {day}" in outcome.message
    assert f"report: file://{chain.settings.source_dir}/artifacts/quality/reports" in outcome.message
    assert outcome.started == {RAW: 1, QUALITY: 1}
    message = chain.refuse(LOADS, "counts", day)
    assert (
        f"raw.stop_visits: service_date {day} failed few_visits_at_unknown_stops; report: file://" in message
    )
    assert f"Correct the rows at their source, then materialise {RAW} and {QUALITY} again." in message
    _assert_only_raw_differs(chain, before, day)
    assert chain.store.read(STOP_VISITS, former.dates(), snapshot_id=former.snapshot_id).equals(rows)

    visits_file(chain.tides, day).write_text(correct)
    assert chain.run("counts", day, assets=(RAW, QUALITY, LOADS)).succeeded
    assert chain.content(STOP_VISITS)[STOP_VISITS.name][1] == before[STOP_VISITS.name][1]
    assert chain.content(STOP_LOADS) == {STOP_LOADS.name: before[STOP_LOADS.name]}


def test_warning_is_shown_and_blocks_nothing(chain: Chain) -> None:
    assert chain.run("plan", NEW, assets=("raw/planned_departures",)).succeeded
    without_trips(1, 2, 3)(chain.tides, NEW)

    outcome = chain.run("counts", NEW, assets=(RAW, QUALITY, LOADS))

    assert outcome.succeeded
    assert (outcome.warned, outcome.blocked) == (["journeys_as_planned"], [])
    assert chain.run("counts", NEW, assets=(LOADS,)).succeeded, "nor in the next run"
    assert NEW in chain.content(STOP_LOADS)[STOP_LOADS.name][1]


def _assert_only_raw_differs(chain: Chain, before: dict, day: date) -> None:
    after = chain.content()
    for table in (STOP_LOADS, LEVELS, LOAD_FORECASTS):
        assert after[table.name] == before[table.name]
    _, versions = after[STOP_VISITS.name]
    others = {other: version for other, version in versions.items() if other != day}
    assert others == {d: version for d, version in before[STOP_VISITS.name][1].items() if d != day}
