"""The job balance: what it reports of each date."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.contracts.jobs import Balance, Snapshot
from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS
from ruter_dagster.forecasting.counts import balance_summary
from ruter_dagster.jobs import balance
from ruter_dagster.jobs.pipes import DateReport, Reporter
from tests.jobs.demo_jobs import context_of, quality_check, run

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

DAYS = (date(2026, 11, 18), date(2026, 11, 19))


class Recorder(Reporter):
    """Keeps the reports of single dates and the metadata."""

    dates: dict[date, DateReport]
    metadata: dict[str, Any]

    def materialised(
        self, asset: str, *, dates: Any = None, version: str | None = None, **metadata: Any
    ) -> None:
        self.dates, self.metadata = dates, metadata


def balanced(folder: Path, *dates: date) -> Recorder:
    parameters, recorder = Balance(dates=dates, of_range=len(dates) > 1), Recorder(None)
    context = context_of(parameters, folder)
    context.report = recorder
    balance.run(parameters, context)
    return recorder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with judged visits of `DAYS`."""
    folder = tmp_path_factory.mktemp("state")
    run(Snapshot(table=STOP_VISITS.name, dates=DAYS, of_range=True), folder)
    run(quality_check(STOP_VISITS, *DAYS), folder)
    return folder


def test_each_date_of_a_range_has_numbers_of_its_own(folder: Path) -> None:
    report = balanced(folder, *DAYS)
    store = context_of(Balance(dates=DAYS), folder).store
    for day in DAYS:
        visits, loads = (store.read(table, [day]) for table in (STOP_VISITS, STOP_LOADS))
        expected = balance_summary(visits, loads).mean_imbalance
        assert report.dates[day].numbers["mean_imbalance"] == pytest.approx(expected)
    trips = [report.dates[day].numbers["trips"] for day in DAYS]
    assert sum(filter(None, trips)) == report.metadata["trips"]


def test_numbers_of_a_single_date_are_reported_once(folder: Path) -> None:
    report = balanced(folder, DAYS[0])
    assert report.dates[DAYS[0]].numbers == {}
    assert report.metadata["trips"] > 0
