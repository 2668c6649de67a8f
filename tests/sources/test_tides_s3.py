"""TIDES tables below an s3:// prefix are read like those of a folder, and errors name the address."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer
from polars.testing import assert_frame_equal

from ruter_dagster.config.gtfs_location import gtfs_location
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources import listing
from ruter_dagster.sources.base import DateAbsent, Source
from ruter_dagster.sources.configured_source import open_source
from tests.sources.gtfs_feed import write_zip
from tests.sources.tides_folder import DAY, TRIPS, VEHICLES, VISITS, source, write_tables

NEXT_DAY = date(2026, 11, 21)
PREFIX = "s3://counts/oslo/tides"
OPERATOR = 'name = "Harbour line"\ncountry = "NO"\ntime_zone = "Europe/Oslo"\nhistory_start = 2026-11-20\n'


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def objects(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An empty bucket, reached as any S3 is: by the usual variables alone."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "RUTER_SOURCE": "tides",
        "RUTER_TIDES_PATH": PREFIX,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    bucket = boto3.resource("s3").Bucket("counts")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    yield bucket
    bucket.objects.delete()
    bucket.delete()


@pytest.fixture
def tables(objects):
    """The tables of `tides_folder`, one CSV each."""
    for name, content in (("stop_visits", VISITS), ("trips_performed", TRIPS), ("vehicles", VEHICLES)):
        put(objects, f"{name}.csv", content)
    return objects


def put(bucket, path: str, content: str | bytes) -> None:
    bucket.put_object(Key=f"oslo/tides/{path}", Body=content)


def remove(bucket, path: str) -> None:
    bucket.Object(f"oslo/tides/{path}").delete()


def of_settings() -> Source:
    settings = load_settings()
    return open_source(settings, operator_of(settings))


def assert_reads_as_the_folder_does(tmp_path: Path) -> None:
    folder, tides = source(write_tables(tmp_path)), of_settings()
    assert_frame_equal(tides.stop_visits(DAY), folder.stop_visits(DAY))
    assert_frame_equal(tides.planned_departures(DAY), folder.planned_departures(DAY))


def test_prefix_is_read_like_a_folder(tables, tmp_path: Path) -> None:
    assert_reads_as_the_folder_does(tmp_path)


def test_files_by_date_are_listed_and_read(
    tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remove(tables, "stop_visits.csv")
    for day in (DAY, NEXT_DAY):
        put(tables, f"stop_visits/{day}.csv", VISITS.replace(str(DAY), str(day)))
    assert_reads_as_the_folder_does(tmp_path)
    assert listing.main() == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["dates"], listed["timetable"]) == (["2026-11-20", "2026-11-21"], None)
    assert set(listed["files"]) == {"2026-11-20", "2026-11-21"}
    assert len(set(listed["files"].values())) == 2


def test_date_of_parquet_may_be_only_in_its_path(tables, tmp_path: Path) -> None:
    rows = pl.read_csv(VISITS.encode(), null_values="NA").drop("service_date")
    rows.write_parquet(tmp_path / "part.parquet")
    remove(tables, "stop_visits.csv")
    put(tables, f"stop_visits/service_date={DAY}/part.parquet", (tmp_path / "part.parquet").read_bytes())
    assert_reads_as_the_folder_does(tmp_path)


def test_neighbouring_prefix_is_ignored(tables, tmp_path: Path) -> None:
    tables.put_object(Key="oslo/tides-old/stop_visits.csv", Body=b"of another year")
    assert_reads_as_the_folder_does(tmp_path)


def test_operator_file_beside_the_tables_is_used(tables) -> None:
    put(tables, "operator.toml", OPERATOR)
    assert operator_of(load_settings()).name == "Harbour line"


def test_named_feeds_in_the_store_plan_the_tables(
    tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tables, "gtfs/2026.zip", write_zip(tmp_path / "feed.zip").read_bytes())
    assert gtfs_location(load_settings()) is None
    monkeypatch.setenv("RUTER_GTFS_PATH", f"{PREFIX}/gtfs")
    assert of_settings().planned_departures(NEXT_DAY)["trip_id"].unique().to_list() == ["late"]


def test_error_names_address_of_missing_file(tables) -> None:
    remove(tables, "trips_performed.csv")
    with pytest.raises(BadInput) as failure:
        of_settings().stop_visits(DAY)
    assert f"TIDES table trips_performed is missing in {PREFIX}: expected trips_performed.csv" in str(
        failure.value
    )


def test_error_of_absent_date_names_available_dates(tables) -> None:
    with pytest.raises(DateAbsent) as failure:
        of_settings().stop_visits(NEXT_DAY)
    assert f"TIDES folder {PREFIX} has no counted visit on 2026-11-21; it has 1 dates from 2026-11-20" in str(
        failure.value
    )


def test_half_written_file_is_refused(tables) -> None:
    put(tables, "stop_visits.csv", VISITS[:-12])
    with pytest.raises(
        BadInput, match=r"stop_visits\.csv is half-written: its last row has 11 of 12 columns"
    ):
        of_settings().stop_visits(DAY)


def test_missing_bucket_is_refused(objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUTER_TIDES_PATH", "s3://no-such-bucket/tides")
    monkeypatch.setenv("RUTER_OPERATOR", "ruter")
    with pytest.raises(
        BadInput, match=r"TIDES folder s3://no-such-bucket/tides cannot be read \(.+\); check its path"
    ):
        of_settings().available_dates()
