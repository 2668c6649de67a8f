"""A train is shortened after publication: the job `capacities` corrects its forecasts, and Kafka has the correction once."""

from __future__ import annotations

from datetime import UTC, datetime, time

import polars as pl
import pytest
from dagster import RunRequest, build_sensor_context
from dagster._core.test_utils import freeze_time

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.orchestration.capacity import JOB
from ruter_dagster.orchestration.chain import FORECASTS, TIMETABLE
from ruter_dagster.publishing.broker import local_broker
from ruter_dagster.publishing.cluster import cluster_connection
from ruter_dagster.publishing.consumer import read_markers
from ruter_dagster.sensors.capacity import capacity_sensors
from tests.chain.local_chain import Chain
from tests.chain.tides_days import NEW

pytestmark = pytest.mark.extended


def shorten(chain: Chain) -> None:
    """Trip 3 of NEW has a vehicle with 8 seats instead of 40."""
    with (chain.tides / "vehicles.csv").open("a") as vehicles:
        vehicles.write("v2,8,12\n")
    for table in ("trips_performed", "stop_visits"):
        file = chain.tides / table / f"{NEW}.csv"
        rows = file.read_text().splitlines(keepends=True)
        of_trip = [row.startswith(f"{NEW},p3,") for row in rows]
        assert any(of_trip)
        changed = [
            row.replace(",v1,", ",v2,") if ran else row for row, ran in zip(rows, of_trip, strict=True)
        ]
        file.write_text("".join(changed))


def requested_runs(chain: Chain) -> list[RunRequest]:
    """What the sensor requests in the morning of the issue date."""
    jobs = {JOB: chain.definitions.resolve_job_def(JOB)}
    (sensor,) = capacity_sensors(chain.settings, operator_of(chain.settings), jobs)
    morning, repository = datetime.combine(NEW, time(7), UTC), chain.definitions.get_repository_def()
    with (
        freeze_time(morning),
        build_sensor_context(instance=chain.instance, repository_def=repository) as context,
    ):
        return list(sensor.evaluate_tick(context).run_requests or [])


def test_shortened_train_is_corrected_without_features_and_model(chain: Chain) -> None:
    with local_broker(chain.settings.source_dir / "broker"):
        assert chain.run("forecasting", NEW, assets=(FORECASTS[1],)).succeeded
        before = chain.store.read(LOAD_FORECASTS, [NEW])
        shorten(chain)
        plan = chain.run("plan", NEW, assets=TIMETABLE)
        assert plan.succeeded, plan.message
        assert len(requested_runs(chain)) == 1
        corrected = chain.run(JOB, NEW, assets=FORECASTS[:2])
        assert corrected.succeeded, corrected.message
        assert set(corrected.materialised) == set(FORECASTS[:2])
        assert requested_runs(chain) == []
        markers = list(read_markers(cluster_connection(load_settings(_env_file=None))).values())
    after = chain.store.read(LOAD_FORECASTS, [NEW])
    trip = (pl.col("trip_id") == "s3") & (pl.col("operating_date") == NEW)
    assert set(before.filter(trip)["seats"]) == {40} and set(after.filter(trip)["seats"]) == {8}
    assert after.filter(~trip).equals(before.filter(~trip))
    # Nothing of this departure was counted, so that its loads are shares of the seats.
    assert set(before.filter(trip)["p90"]) == {40.0} and set(after.filter(trip)["p90"]) == {8.0}
    assert [marker.issue_date for marker in markers] == [NEW, NEW]
    assert markers[1].content_hash == chain.store.versions(LOAD_FORECASTS, [NEW])[NEW]
    again = chain.run("forecasting", NEW, assets=FORECASTS[:1])
    assert again.succeeded, again.message
    assert set(chain.store.read(LOAD_FORECASTS, [NEW]).filter(trip)["seats"]) == {8}
    assert requested_runs(chain) == []
