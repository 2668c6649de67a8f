"""A job's parameters may come as arguments, their dates relative to an issue date."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import Balance, JobParameters, Promote
from ruter_dagster.jobs.arguments import Arguments


def read(container: Path, *words: str) -> JobParameters:
    return Arguments.parse(list(words), None).read(Container(container))


def test_dates_follow_from_the_issue_date(tmp_path: Path):
    given = read(tmp_path, "balance", "--parameters", '{"dates":["D-1"]}', "--issue-date", "2026-11-20")
    assert given == Balance(dates=(date(2026, 11, 19),))


@pytest.mark.parametrize(
    ("asked_at", "issue_date"),
    [("2026-11-20T22:59:59Z", date(2026, 11, 20)), ("2026-11-20T23:00:00.000Z", date(2026, 11, 21))],
)
def test_today_is_the_operators_day_when_it_was_asked_for(tmp_path: Path, asked_at: str, issue_date: date):
    words = ("--parameters", '{"dates":["D"]}', "--issue-date", "today", "--asked-at", asked_at)
    assert read(tmp_path, "balance", *words) == Balance(dates=(issue_date,))


def test_now_is_when_it_was_asked_for(tmp_path: Path):
    words = (
        "--parameters",
        '{"model_version":"newest","promoted_at":"NOW"}',
        "--asked-at",
        "2026-11-20T02:30:00Z",
    )
    moment = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)
    assert read(tmp_path, "promote", *words) == Promote(model_version="newest", promoted_at=moment)


def test_without_them_the_containers_file_is_read(tmp_path: Path):
    balance = Balance(dates=(date(2026, 11, 19),))
    Container(tmp_path).write_parameters(balance)
    assert read(tmp_path, "balance") == balance


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--parameters", "{"), "Expecting property name"),
        (("--parameters", "{}"), "Field required"),
        (("--parameters", '{"dates":["D"]}'), "D is relative to an issue date"),
        (("--parameters", '{"dates":["D"]}', "--issue-date", "20.11.2026"), "Invalid isoformat string"),
        (
            ("--parameters", '{"dates":["D"]}', "--issue-date", "today", "--asked-at", "noon"),
            "Invalid isoformat",
        ),
    ],
)
def test_what_is_wrong_is_named_and_not_retried(tmp_path: Path, words: tuple[str, ...], told: str):
    with pytest.raises(PermanentFailure, match="Job balance cannot run with --parameters") as failure:
        read(tmp_path, "balance", *words)
    assert told in str(failure.value)
