"""A job's parameters may be arguments, with dates relative to an issue date."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import Balance, JobParameters, Promote
from ruter_dagster.jobs.arguments import Arguments


def read(container: Path, *arguments: str) -> JobParameters:
    return Arguments.parse(list(arguments), None).read(Container(container))


def test_dates_follow_from_the_issue_date(tmp_path: Path):
    parameters = read(tmp_path, "balance", "--parameters", '{"dates":["D-1"]}', "--issue-date", "2026-11-20")
    assert parameters == Balance(dates=(date(2026, 11, 19),))


@pytest.mark.parametrize(
    ("requested_at", "issue_date"),
    [("2026-11-20T22:59:59Z", date(2026, 11, 20)), ("2026-11-20T23:00:00.000Z", date(2026, 11, 21))],
)
def test_today_is_the_operators_date_at_the_request(tmp_path: Path, requested_at: str, issue_date: date):
    arguments = ("--parameters", '{"dates":["D"]}', "--issue-date", "today", "--requested-at", requested_at)
    assert read(tmp_path, "balance", *arguments) == Balance(dates=(issue_date,))


def test_now_is_the_time_of_the_request(tmp_path: Path):
    arguments = (
        "--parameters",
        '{"model_version":"newest","promoted_at":"NOW"}',
        "--requested-at",
        "2026-11-20T02:30:00Z",
    )
    moment = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)
    assert read(tmp_path, "promote", *arguments) == Promote(model_version="newest", promoted_at=moment)


def test_container_file_is_read_without_arguments(tmp_path: Path):
    balance = Balance(dates=(date(2026, 11, 19),))
    Container(tmp_path).write_parameters(balance)
    assert read(tmp_path, "balance") == balance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--parameters", "{"), "Expecting property name"),
        (("--parameters", "{}"), "Field required"),
        (("--parameters", '{"dates":["D"]}'), "D is relative to an issue date"),
        (("--parameters", '{"dates":["D"]}', "--issue-date", "20.11.2026"), "Invalid isoformat string"),
        (
            ("--parameters", '{"dates":["D"]}', "--issue-date", "today", "--requested-at", "noon"),
            "Invalid isoformat",
        ),
    ],
)
def test_wrong_arguments_are_named_and_not_retried(tmp_path: Path, arguments: tuple[str, ...], message: str):
    with pytest.raises(PermanentFailure, match="Job balance cannot run with --parameters") as failure:
        read(tmp_path, "balance", *arguments)
    assert message in str(failure.value)
