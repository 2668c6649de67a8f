"""Jobs read tables with rules for missing dates, verdicts and pins, and record the used dates."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.checks import CHECKED_TABLES
from ruter_dagster.contracts.errors import NoDataForDates, PermanentFailure
from ruter_dagster.contracts.jobs import (
    JOBS,
    Balance,
    CheckQuality,
    Drift,
    Feeds,
    JobParameters,
    Promote,
    Retention,
    Snapshot,
)
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS, STOP_LOADS, STOP_VISITS
from ruter_dagster.jobs.input_tables import InputTables, Missing
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.snapshots import DateMissing
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.verdicts import NoPassingVerdict, Verdicts
from tests.storage.frames import DAY, NEXT_DAY, VISITS, visits

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

UNWRITTEN = DAY + timedelta(5)
PASSED, FAILED = {"passed": True, "failed": []}, {"passed": False, "failed": ["rows"]}


class ReadsVisits(JobParameters):
    job = "reads_visits"
    reads = (VISITS,)


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(local_catalog(tmp_path / "warehouse"))


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(ArtifactStore.at(tmp_path / "artifacts"))


@pytest.fixture
def tables(store: TableStore, verdicts: Verdicts) -> InputTables:
    """The first date passed its checks, the next one failed them."""
    for day, verdict in ((DAY, PASSED), (NEXT_DAY, FAILED)):
        written = store.write(VISITS, visits(day), [day], code_version="1")
        verdicts.record(VISITS, day, written.hashes[day], verdict, "report")
    return InputTables(store, verdicts, ReadsVisits())


def test_rows_of_passing_dates_are_read_and_recorded(tables: InputTables) -> None:
    rows = tables.read(VISITS, [DAY], ["load"])
    assert rows.shape == (20, 1)
    assert list(tables.used[VISITS.name]["dates"]) == [str(DAY)]


def test_versions_alone_record_nothing_as_used(tables: InputTables) -> None:
    assert list(tables.versions(VISITS, [DAY])) == [DAY]
    assert tables.used == {}


@pytest.mark.parametrize(
    ("missing", "error"), [("error", DateMissing), ("error_if_all", None), ("skip", None)]
)
def test_one_missing_date_is_an_error_or_skipped(
    tables: InputTables, missing: Missing, error: type[Exception] | None
) -> None:
    if error:
        with pytest.raises(error, match=str(UNWRITTEN)):
            tables.read(VISITS, [DAY, UNWRITTEN], missing=missing)
    else:
        assert tables.read(VISITS, [DAY, UNWRITTEN], missing=missing).height == 20


@pytest.mark.parametrize(
    ("missing", "error"), [("error", DateMissing), ("error_if_all", NoDataForDates), ("skip", None)]
)
def test_missing_dates_alone_are_an_error_unless_skipped(
    tables: InputTables, missing: Missing, error: type[Exception] | None
) -> None:
    if error:
        with pytest.raises(error, match=str(UNWRITTEN)):
            tables.read(VISITS, [UNWRITTEN], missing=missing)
    else:
        assert tables.read(VISITS, [UNWRITTEN], missing=missing).is_empty()


def test_failed_verdict_is_an_error_by_default(tables: InputTables) -> None:
    with pytest.raises(NoPassingVerdict, match=str(NEXT_DAY)):
        tables.read(VISITS, [DAY, NEXT_DAY])


def test_failed_verdict_skips_the_date_and_lists_it(tables: InputTables) -> None:
    assert tables.read(VISITS, [DAY, NEXT_DAY], verdict="skip").height == 20
    assert tables.dates_refused == {VISITS.name: [str(NEXT_DAY)]}
    assert list(tables.used[VISITS.name]["dates"]) == [str(DAY)]


def test_failed_verdict_can_be_ignored(tables: InputTables) -> None:
    assert tables.read(VISITS, [DAY, NEXT_DAY], verdict="ignore").height == 40


def test_job_sees_one_state_of_a_table(tables: InputTables, store: TableStore) -> None:
    before = tables.versions(VISITS, [DAY])
    store.write(VISITS, visits(DAY, load=30.0), [DAY], code_version="1")
    assert tables.versions(VISITS, [DAY]) == before


def test_pinned_table_is_read_at_its_snapshot(
    tables: InputTables, store: TableStore, verdicts: Verdicts
) -> None:
    pin = tables.snapshot(VISITS).snapshot_id
    assert pin is not None
    store.write(VISITS, visits(DAY, load=30.0), [DAY], code_version="1")
    pinned = InputTables(store, verdicts, ReadsVisits(pins={VISITS.name: pin}))
    assert pinned.versions(VISITS, [DAY]) == tables.versions(VISITS, [DAY])
    assert pinned.read(VISITS, [DAY])["load"].max() != 30.0


def test_undeclared_table_cannot_be_read(store: TableStore, verdicts: Verdicts) -> None:
    with pytest.raises(AssertionError, match=r"Balance does not declare loads\.stop_loads"):
        InputTables(store, verdicts, Balance(dates=(DAY,))).snapshot(STOP_LOADS)


def test_misspelt_pin_is_refused_with_a_suggestion() -> None:
    parameters = Drift(dates=(DAY,), pins={"loads.stop_load": 1})
    with pytest.raises(PermanentFailure, match=r"loads\.stop_load\. Did you mean loads\.stop_loads\?"):
        parameters.require_known_pins()


def test_pin_of_an_unread_table_names_the_tables_read() -> None:
    parameters = Balance(dates=(DAY,), pins={"forecasts.load_forecasts": 1})
    with pytest.raises(PermanentFailure, match=r"does not read .*load_forecasts.*reads: raw\.stop_visits"):
        parameters.require_known_pins()


def test_known_pins_are_accepted() -> None:
    Balance(dates=(DAY,), pins={STOP_VISITS.name: 1}).require_known_pins()
    CheckQuality(table=STOP_LOADS.name, dates=(DAY,), pins={PLANNED_DEPARTURES.name: 1}).require_known_pins()


def test_tables_read_depend_on_the_table_copied_or_checked() -> None:
    assert Snapshot(table=STOP_VISITS.name, dates=(DAY,)).input_tables == (PLANNED_DEPARTURES,)
    assert Snapshot(table=PLANNED_DEPARTURES.name, dates=(DAY,)).input_tables == ()
    checked = CheckQuality(table=STOP_VISITS.name, dates=(DAY,)).input_tables
    assert checked == (STOP_VISITS, PLANNED_DEPARTURES, REJECTED_VISITS)
    for table in CHECKED_TABLES:
        assert table in CheckQuality(table=table.name, dates=(DAY,)).input_tables


def test_every_job_declares_its_tables() -> None:
    without = {name for name, job in JOBS.items() if not job.reads}
    assert without == {Snapshot.job, CheckQuality.job, Promote.job, Feeds.job, Retention.job}
