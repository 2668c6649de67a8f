"""Rows are read only with a passed verdict, and a verdict is valid only for the rows that were checked."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.tables import Table
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.snapshots import DateMissing
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.verdicts import NoPassingVerdict, Verdicts
from tests.storage.frames import DAY, NEXT_DAY, VISITS, visits

PASSED = {"passed": True, "failed": [], "profile": {"rows": 20}}
FAILED = {"passed": False, "failed": ["load_within_twice_the_capacity"]}
REPORT = "file:///reports/day.html"

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(local_catalog(tmp_path / "warehouse"))


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(ArtifactStore.at(tmp_path / "artifacts"))


def read_checked(
    store: TableStore, verdicts: Verdicts, table: Table, dates: list[date], columns=None, snapshot_id=None
):
    """Reads rows and verdicts of one snapshot, like a job."""
    snapshot = store.snapshot(table, snapshot_id)
    verdicts.require(table, snapshot.versions(dates), dates)
    return snapshot.read(dates, columns)


def write(store: TableStore, load: float = 12.0) -> str:
    return store.write(VISITS, visits(load=load), [DAY], code_version="1").hashes[DAY]


def test_rows_that_passed_are_read(store: TableStore, verdicts: Verdicts):
    verdicts.record(VISITS, DAY, write(store), PASSED, REPORT)
    assert read_checked(store, verdicts, VISITS, [DAY], columns=["load"]).shape == (20, 1)


def test_unchecked_rows_are_refused_with_the_quality_asset(store: TableStore, verdicts: Verdicts):
    write(store)
    with pytest.raises(
        NoPassingVerdict, match=r"raw\.visits.*service_date 2026-11-20.*Materialise quality/visits"
    ) as error:
        read_checked(store, verdicts, VISITS, [DAY])
    assert error.value.dates == (DAY,)


def test_failed_rows_are_refused_with_checks_and_report(store: TableStore, verdicts: Verdicts):
    verdicts.record(VISITS, DAY, write(store), FAILED, REPORT)
    with pytest.raises(NoPassingVerdict) as error:
        read_checked(store, verdicts, VISITS, [DAY])
    assert "2026-11-20 failed load_within_twice_the_capacity; report: file:///reports/day.html" in str(
        error.value
    )
    assert "materialise raw/visits and quality/visits again" in str(error.value)


def test_changed_rows_are_refused_until_they_are_checked(store: TableStore, verdicts: Verdicts):
    verdicts.record(VISITS, DAY, write(store), PASSED, REPORT)
    former = store.current_snapshot(VISITS)
    changed = write(store, load=13.0)
    with pytest.raises(NoPassingVerdict):
        read_checked(store, verdicts, VISITS, [DAY])
    assert read_checked(store, verdicts, VISITS, [DAY], snapshot_id=former)["load"][0] == 12.0
    verdicts.record(VISITS, DAY, changed, PASSED, REPORT)
    assert read_checked(store, verdicts, VISITS, [DAY])["load"][0] == 13.0


def test_missing_date_is_an_error_of_its_own(store: TableStore, verdicts: Verdicts):
    verdicts.record(VISITS, DAY, write(store), PASSED, REPORT)
    with pytest.raises(DateMissing, match="2026-11-21"):
        read_checked(store, verdicts, VISITS, [DAY, NEXT_DAY])


def test_refused_dates_and_summaries_are_in_order(verdicts: Verdicts):
    days = [DAY + timedelta(days=number) for number in range(20)]
    versions = {day: f"version{number}" for number, day in enumerate(days)}
    for day in days[:19]:
        verdicts.record(
            VISITS, day, versions[day], FAILED if day == days[3] else {**PASSED, "date": str(day)}, REPORT
        )
    assert verdicts.refused_dates(VISITS, versions) == [days[3], days[19]]
    passed = [summary["date"] for summary in verdicts.summaries(VISITS, versions) if summary["passed"]]
    assert passed == [str(day) for day in days[:19] if day != days[3]]
