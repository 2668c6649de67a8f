"""Athena's queries run: SELECT answers rows, UNLOAD writes Parquet files, and a failure has the wording of AWS."""

from __future__ import annotations

import io
import time
from typing import Any

import polars as pl
import pytest
from botocore.exceptions import ClientError

from sagemaker_double.control import Remote
from sagemaker_double.server import Double

VISITS = pl.DataFrame({"date": ["2025-01-01", "2025-01-02", "2025-01-02"], "boardings": [3, 4, None]})


@pytest.fixture
def s3(aws: Any) -> Any:
    """The files of a table of two partitions."""
    s3 = aws("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for (date,), part in VISITS.partition_by("date", as_dict=True, include_key=False).items():
        file = io.BytesIO()
        part.write_parquet(file)
        s3.put_object(Bucket="bucket", Key=f"warehouse/visits/date={date}/part-0", Body=file.getvalue())
    return s3


def ended(athena: Any, sql: str, **request: Any) -> dict[str, Any]:
    """The execution of a query that is over."""
    request.setdefault("ResultConfiguration", {"OutputLocation": "s3://bucket/results/"})
    query = athena.start_query_execution(QueryString=sql, **request)["QueryExecutionId"]
    while True:
        execution = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]
        if execution["Status"]["State"] not in ("QUEUED", "RUNNING"):
            return execution
        time.sleep(0.01)


def unloaded(s3: Any, prefix: str) -> pl.DataFrame:
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])]
    return pl.concat(pl.read_parquet(s3.get_object(Bucket="bucket", Key=key)["Body"].read()) for key in keys)


def test_unload_leaves_parquet_files_of_a_registered_table(
    sagemaker_double: Remote, aws: Any, s3: Any
) -> None:
    sagemaker_double.tables(**{"warehouse.visits": "s3://bucket/warehouse/visits/"})
    sql = (
        'UNLOAD (SELECT date, SUM(boardings) AS boardings FROM "warehouse"."visits" WHERE date IN (?) GROUP BY date) '
        "TO 's3://bucket/unloaded/' WITH (format = 'PARQUET', compression = 'GZIP')"
    )
    execution = ended(aws("athena"), sql, ExecutionParameters=["'2025-01-02'"])
    assert execution["Status"]["State"] == "SUCCEEDED", execution
    assert execution["Statistics"]["DataScannedInBytes"] > 100
    assert unloaded(s3, "unloaded/").to_dicts() == [{"date": "2025-01-02", "boardings": 4}]
    manifest = execution["Statistics"]["DataManifestLocation"].removeprefix("s3://bucket/")
    assert b"s3://bucket/unloaded/" in s3.get_object(Bucket="bucket", Key=manifest)["Body"].read()


def test_table_of_glue_is_found_by_its_location(aws: Any, s3: Any) -> None:
    glue = aws("glue")
    glue.create_database(DatabaseInput={"Name": "warehouse"})
    storage = {"Location": "s3://bucket/warehouse/visits"}
    glue.create_table(DatabaseName="warehouse", TableInput={"Name": "visits", "StorageDescriptor": storage})
    athena = aws("athena")
    execution = ended(
        athena, "SELECT COUNT(*) AS visits FROM visits", QueryExecutionContext={"Database": "warehouse"}
    )
    rows = athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])["ResultSet"]["Rows"]
    assert [row["Data"][0]["VarCharValue"] for row in rows] == ["visits", "3"]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM warehouse.nothing", "TABLE_NOT_FOUND"),
        ("SELECT nothing FROM warehouse.visits", "SYNTAX_ERROR"),
        (
            "UNLOAD (SELECT * FROM warehouse.visits) TO 's3://bucket/warehouse/' WITH (format='PARQUET')",
            "HIVE_PATH_ALREADY_EXISTS",
        ),
    ],
)
def test_failed_query_states_its_reason_as_athena_does(
    sagemaker_double: Remote, aws: Any, s3: Any, sql: str, reason: str
) -> None:
    sagemaker_double.tables(**{"warehouse.visits": "s3://bucket/warehouse/visits/"})
    status = ended(aws("athena"), sql)["Status"]
    assert status["State"] == "FAILED"
    assert status["StateChangeReason"].startswith(reason)


def test_running_query_fails_or_is_cancelled(sagemaker_double: Remote, aws: Any, s3: Any) -> None:
    athena = aws("athena")
    sagemaker_double.fault("query_failed", message="EXCEEDED_MEMORY_LIMIT: too much")
    assert ended(athena, "SELECT 1")["Status"]["StateChangeReason"] == "EXCEEDED_MEMORY_LIMIT: too much"
    sagemaker_double.fault("slow_query", seconds=60)
    query = athena.start_query_execution(QueryString="SELECT 1", ClientRequestToken="t" * 32)[
        "QueryExecutionId"
    ]
    assert ended_by_stopping(athena, query) == "CANCELLED"
    again = athena.start_query_execution(QueryString="SELECT 1", ClientRequestToken="t" * 32)
    assert again["QueryExecutionId"] == query


def test_failed_unload_leaves_files_that_block_the_next_query(
    sagemaker_double: Remote, aws: Any, s3: Any
) -> None:
    sagemaker_double.tables(**{"warehouse.visits": "s3://bucket/warehouse/visits/"})
    sql = "UNLOAD (SELECT * FROM warehouse.visits) TO 's3://bucket/unloaded/' WITH (format='PARQUET')"
    sagemaker_double.fault("query_failed", after_effect=True)
    error = ended(aws("athena"), sql)["Status"]["AthenaError"]
    assert (error["ErrorCategory"], error["Retryable"]) == (1, True)
    assert unloaded(s3, "unloaded/").height == 3
    again = ended(aws("athena"), sql)["Status"]
    assert again["StateChangeReason"].startswith("HIVE_PATH_ALREADY_EXISTS")
    assert again["AthenaError"]["Retryable"] is False


def ended_by_stopping(athena: Any, query: str) -> str:
    athena.stop_query_execution(QueryExecutionId=query)
    while True:
        state = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]["State"]
        if state not in ("QUEUED", "RUNNING"):
            return state
        time.sleep(0.01)


def test_unknown_query_is_refused(sagemaker_double: Remote, aws: Any) -> None:
    with pytest.raises(ClientError, match="was not found"):
        aws("athena").get_query_execution(QueryExecutionId="11111111-1111-1111-1111-111111111111")


def test_results_come_in_pages(sagemaker_double: Remote, aws: Any, s3: Any) -> None:
    sagemaker_double.tables(**{"warehouse.visits": "s3://bucket/warehouse/visits/"})
    athena = aws("athena")
    query = ended(athena, "SELECT boardings IS NULL AS empty FROM warehouse.visits")["QueryExecutionId"]
    pages = athena.get_paginator("get_query_results").paginate(
        QueryExecutionId=query, PaginationConfig={"PageSize": 3}
    )
    rows = [[row["Data"][0]["VarCharValue"] for row in page["ResultSet"]["Rows"]] for page in pages]
    assert rows == [["empty", "false", "false"], ["true"]]


def test_parameters_replace_only_question_marks_outside_of_literals(
    sagemaker_double: Remote, aws: Any
) -> None:
    athena = aws("athena")
    query = ended(athena, "SELECT ? AS x, ? AS y, 'z?' AS z", ExecutionParameters=["'a?'", "'b'"])
    rows = athena.get_query_results(QueryExecutionId=query["QueryExecutionId"])["ResultSet"]["Rows"]
    assert [cell["VarCharValue"] for cell in rows[1]["Data"]] == ["a?", "b", "z?"]


def test_reset_cancels_queries() -> None:
    """Otherwise a query of one test would write files into the buckets of the next."""
    double = Double()
    try:
        double.faults.add(kind="slow_query", seconds=600)
        double.athena.answer("StartQueryExecution", {"QueryString": "SELECT 1"}, lambda: (500, {}, b""))
        (query,) = double.athena._queries.values()
        double.athena.clear()
        assert query.stopped.is_set()
    finally:
        double._server.server_close()
        double.logs.stop()
