"""Tables in the Glue catalog and files on S3 behave as on a local disk, also with parallel writers and AWS errors."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import glue_catalog
from ruter_dagster.storage.retention import (
    delete_dates,
    delete_files,
    expire_snapshots,
    old_dates,
    old_snapshots,
)
from ruter_dagster.storage.tables import TableStore
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings
from tests.storage.frames import DAY, VISITS, visits

REGION = Settings.region
WRITERS = 8
WAREHOUSE = "s3://lake/dev/demo/warehouse"
DATABASE = "rd_dev_demo"


@pytest.fixture
def lake(sagemaker_double: Remote, aws: Any) -> Remote:
    """An empty AWS account with one bucket."""
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION})
    return sagemaker_double


def store(database: str = DATABASE) -> TableStore:
    return TableStore(glue_catalog(WAREHOUSE, REGION), database)


def write(number: int) -> None:
    day = DAY + timedelta(days=number)
    store().write(VISITS, visits(day, load=float(number)), [day], code_version="1")


def test_table_is_written_and_read(lake: Remote):
    result = store().write(VISITS, visits(DAY), [DAY], code_version="1")
    assert store().dates(VISITS) == [DAY]
    assert store().read(VISITS, [DAY]).equals(visits(DAY).sort(VISITS.key))
    repeated = store().write(VISITS, visits(DAY), [DAY], code_version="1")
    assert (repeated.snapshot_id, repeated.unchanged) == (result.snapshot_id, (DAY,))


def test_table_is_in_the_database_of_its_environment(lake: Remote, aws: Any):
    store().write(VISITS, visits(DAY), [DAY], code_version="1")
    table = aws("glue").get_table(DatabaseName=DATABASE, Name=VISITS.name.replace(".", "_"))
    assert table["Table"]["StorageDescriptor"]["Location"].startswith(f"{WAREHOUSE}/")
    assert store("rd_test_demo").dates(VISITS) == []


def test_pinned_snapshot_does_not_change(lake: Remote):
    first = store().write(VISITS, visits(DAY, load=1.0), [DAY], code_version="1")
    store().write(VISITS, visits(DAY, load=2.0), [DAY], code_version="1")
    former = store().read(VISITS, [DAY], snapshot_id=first.snapshot_id)
    assert former["load"].unique().to_list() == [1.0]


def test_parallel_writers_lose_no_commit(lake: Remote):
    store().write(VISITS, visits(DAY - timedelta(1)), [DAY - timedelta(1)], code_version="1")
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(write, range(WRITERS)))
    days = [DAY + timedelta(days=number) for number in range(WRITERS)]
    loads = (
        store().read(VISITS, days).group_by("service_date").agg(pl.col("load").unique()).sort("service_date")
    )
    assert loads["load"].to_list() == [[float(number)] for number in range(WRITERS)]
    assert store().dates(VISITS) == [DAY - timedelta(1), *days]
    assert lake.calls()["errors"].get("glue.UpdateTable"), "no commits conflicted, so the test shows nothing"


@pytest.mark.parametrize("operation", ["glue.GetTable", "glue.UpdateTable", "s3.PutObject", "s3.GetObject"])
def test_throttled_call_is_retried(lake: Remote, operation: str):
    store().write(VISITS, visits(DAY, load=1.0), [DAY], code_version="1")
    code, status = ("SlowDown", 503) if operation.startswith("s3") else ("ThrottlingException", 400)
    lake.fault("error", operations=operation, code=code, status=status, count=2)
    store().write(VISITS, visits(DAY, load=2.0), [DAY], code_version="1")
    assert store().read(VISITS, [DAY])["load"].unique().to_list() == [2.0]
    assert [fault["taken"] for fault in lake.faults()] in ([2], [])


@pytest.mark.parametrize("operation", ["glue.GetTable", "glue.UpdateTable", "s3.PutObject", "s3.GetObject"])
def test_missing_right_is_an_error_with_the_remedy(lake: Remote, operation: str):
    store().write(VISITS, visits(DAY, load=1.0), [DAY], code_version="1")
    code, status = ("AccessDenied", 403) if operation.startswith("s3") else ("AccessDeniedException", 400)
    lake.fault("error", operations=operation, code=code, status=status, count=None)
    with pytest.raises(PermanentFailure, match="Grant the role of this process that permission"):
        store().write(VISITS, visits(DAY, load=2.0), [DAY], code_version="1")
    lake.clear_faults()
    assert store().read(VISITS, [DAY])["load"].unique().to_list() == [1.0]


def test_forbidden_data_files_are_an_error_with_the_remedy(lake: Remote):
    store().write(VISITS, visits(DAY), [DAY], code_version="1")
    snapshot = store().snapshot(VISITS)
    lake.fault("error", operations="s3.*", code="AccessDenied", status=403, count=None)
    with pytest.raises(PermanentFailure, match="Grant the role of this process that permission"):
        snapshot.read([DAY])


def test_missing_bucket_is_named(lake: Remote):
    missing = TableStore(glue_catalog("s3://no-such-lake/dev", REGION), DATABASE)
    with pytest.raises(PermanentFailure, match=r"s3://no-such-lake/dev.*must exist before"):
        missing.write(VISITS, visits(DAY), [DAY], code_version="1")
    with pytest.raises(
        PermanentFailure, match=r"s3://no-such-lake/a/b cannot be written: .*must exist before"
    ):
        ArtifactStore.at("s3://no-such-lake/a", REGION).put("b", b"")


def test_artifacts_are_kept_on_s3(lake: Remote):
    artifacts = ArtifactStore.at("s3://lake/dev/demo/artifacts", REGION)
    artifacts.put("models/a", b"one")
    assert artifacts.find_all(["models/a", "models/b"]) == {"models/a": b"one"}
    assert artifacts.list("models/") == ["models/a"]
    assert (artifacts.exists("models/a"), artifacts.exists("models/b")) == (True, False)
    assert artifacts.uri("models/a") == "s3://lake/dev/demo/artifacts/models/a"


def test_forbidden_artifact_is_named_with_its_address(lake: Remote):
    lake.fault("error", operations="s3.GetObject", code="AccessDenied", status=403, count=None)
    with pytest.raises(PermanentFailure, match=r"s3://lake/a/models/a cannot be read: .*Grant the role"):
        ArtifactStore.at("s3://lake/a", REGION).get("models/a")


def test_missing_credentials_are_an_error_with_the_remedy(
    lake: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(PermanentFailure, match="there are no AWS credentials"):
        ArtifactStore.at("s3://lake/a", REGION)
    with pytest.raises(PermanentFailure, match=r"Unable to locate credentials.*Sign in"):
        store().write(VISITS, visits(DAY), [DAY], code_version="1")


def test_retention_deletes_old_dates_and_unneeded_files(lake: Remote, aws: Any):
    for load in (1.0, 2.0):
        store().write(VISITS, visits(DAY, load=load), [DAY], code_version="1")
    late = DAY + timedelta(40)
    store().write(VISITS, visits(late), [late], code_version="1")
    delete_dates(store(), VISITS, old_dates(store(), VISITS, 30))
    later = datetime.now(UTC) + timedelta(1)
    expire_snapshots(store(), VISITS, old_snapshots(store(), VISITS, later))
    artifacts = ArtifactStore.at("s3://lake/dev/demo/artifacts", REGION)
    before = data_files(aws)
    for days in (0, 60):
        delete_files(store(), VISITS, artifacts, later + timedelta(days), 60, region=REGION)
    assert (len(before), len(data_files(aws))) == (3, 1)
    assert store().dates(VISITS) == [late]
    assert store().read(VISITS, [late]).equals(visits(late).sort(VISITS.key))


def data_files(aws: Any) -> list[str]:
    keys = [file["Key"] for file in aws("s3").list_objects_v2(Bucket="lake")["Contents"]]
    return [key for key in keys if key.endswith(".parquet")]
