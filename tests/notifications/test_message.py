"""The text of a notice: complete, short, and without secrets."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest

from ruter_dagster.config.settings import load_settings
from ruter_dagster.notifications.message import (
    describe_duration,
    hide_secrets,
    message_of,
    plain_text,
    without_secrets,
)
from tests.notifications.notices import PROBLEM, notice

TOKEN = "xoxb-token-of-the-tests"
SETTINGS = load_settings(_env_file=None, slack_token=TOKEN, kafka_sasl_password="hush-hush")


def test_plain_text_has_all_parts() -> None:
    assert plain_text(message_of(notice(), "test", UTC)).splitlines() == [
        "Run failed: counts 2026-03-29",
        "",
        "Since:",
        "  2026-03-29 04:30 UTC",
        "",
        "Affected:",
        "  loads/stop_loads",
        "  forecasts of 2026-03-30",
        "",
        "Details:",
        "  No space left on device",
        "  asked for 3 & got <2>",
        "",
        "Last lines of the log:",
        "  reading",
        "  writing",
        "",
        "What to do:",
        "  `ruter-dagster retry 1a2b3c4d`",
        "",
        "Run 1a2b3c4d: http://dagster.test/runs/1a2b3c4d",
        "Report: s3://bucket/report.html",
        "",
        "-- ",
        "test · run_failure · incident abc",
    ]


def test_long_list_of_affected_says_how_many_more() -> None:
    message = message_of(notice(affected=tuple(f"line {number}" for number in range(25))), "test", UTC)
    affected = next(part for part in message.parts if part.heading == "Affected")
    assert affected.text.splitlines()[-2:] == ["line 9", "and 15 more"]


@pytest.mark.parametrize(
    "text",
    [
        f"login failed with {TOKEN} and hush-hush",
        "https://someone:pass-word@kafka.test/x",  # checkov:skip=CKV_SECRET_4:an example
        "RUTER_SMTP_PASSWORD=pass-word, next",
        '{"password": "pass-word"}',
        "Authorization: Bearer pass-word",
        "aws_secret_access_key = pass-word",
        "key AKIAIOSFODNN7EXAMPLE is unknown",  # checkov:skip=CKV_SECRET_2:an example of the AWS documentation
        "-----BEGIN RSA PRIVATE KEY-----\nMIIpass-word\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIpass-word",
        "basic.auth.user.info=key:pass-word",
        "https://bucket.test/x?X-Amz-Signature=pass-word&X-Amz-Security-Token=pass-word&y=1",
        "Server=db;pwd=pass-word;",
        "ghp_pass-word-0123456789abcdef",
        "postgresql://someone:pass/pass-word@db.test/x",
        "amqp://:pass-word@queue.test/",
        '{"password": "correct horse, pass-word"}',
        "password = 'correct horse pass-word'",
        "{'Authorization': 'Bearer pass-word'}",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    hidden = hide_secrets(text, SETTINGS)
    assert not any(secret in hidden for secret in (TOKEN, "hush-hush", "pass-word", "AKIAIOSFODNN7EXAMPLE"))
    assert "(hidden)" in hidden


def test_text_without_secret_is_unchanged() -> None:
    text = (
        "stop_visits.csv, row 6: service_date is empty. 12 tokens at http://dagster.test/runs/1\n"
        "2026-03-29 06:30:00 ERROR http://localhost:8080/a asked by ops@example.org"
    )
    assert hide_secrets(text, SETTINGS) == text


def test_text_after_a_quoted_secret_is_kept() -> None:
    assert (
        hide_secrets('{"password": "two words", "host": "db.test"}', SETTINGS)
        == '{"password": (hidden), "host": "db.test"}'
    )


def test_secrets_of_every_text_of_a_problem_are_hidden() -> None:
    texts = dict.fromkeys(("title", "details", "log", "remedy"), f"x {TOKEN}")
    problem = PROBLEM.model_copy(
        update={**texts, "affected": (TOKEN,), "links": ((TOKEN, f"http://a/{TOKEN}"),)}
    )
    assert TOKEN not in without_secrets(problem, SETTINGS).model_dump_json()


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=30), "30 s"),
        (timedelta(minutes=9), "9 min"),
        (timedelta(hours=2, minutes=10), "2 h 10 min"),
        (timedelta(days=3, hours=5, minutes=59), "3 d 5 h"),
    ],
)
def test_duration_is_in_its_two_largest_units(duration: timedelta, text: str) -> None:
    assert describe_duration(duration) == text
