"""Glue's optimistic lock: one of several writers of a version succeeds, and the others are refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sagemaker_double.control import Remote

WRITERS = 8


@pytest.fixture
def glue(sagemaker_double: Remote, aws: Any) -> Any:
    glue = aws("glue")
    glue.create_database(DatabaseInput={"Name": "raw"})
    glue.create_table(DatabaseName="raw", TableInput={"Name": "stops", "Parameters": {"writers": ""}})
    return glue


def present(glue: Any) -> tuple[str, str]:
    """The version, and the names of those who wrote."""
    table = glue.get_table(DatabaseName="raw", Name="stops")["Table"]
    return table["VersionId"], table["Parameters"]["writers"]


def write(glue: Any, writers: str, **version: str) -> None:
    table = {"Name": "stops", "Parameters": {"writers": writers}}
    glue.update_table(DatabaseName="raw", TableInput=table, SkipArchive=True, **version)


def test_stale_version_is_refused(glue: Any) -> None:
    version, _ = present(glue)
    write(glue, "first", VersionId=version)
    with pytest.raises(ClientError) as refused:
        write(glue, "second", VersionId=version)
    assert refused.value.response["Error"]["Code"] == "ConcurrentModificationException"
    assert present(glue)[1] == "first"


def test_last_writer_without_a_version_wins(glue: Any) -> None:
    write(glue, "first")
    write(glue, "second")
    assert present(glue)[1] == "second"


def test_parallel_writers_lose_nothing_if_they_retry(glue: Any) -> None:
    def add(name: str) -> None:
        while True:
            version, writers = present(glue)
            try:
                return write(glue, f"{writers} {name}", VersionId=version)
            except ClientError as refused:
                assert refused.response["Error"]["Code"] == "ConcurrentModificationException"

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(add, map(str, range(WRITERS))))
    assert sorted(present(glue)[1].split()) == sorted(map(str, range(WRITERS)))
