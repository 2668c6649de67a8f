"""Which statuses are due: each once, in every order of deadline, publication and failure. No broker."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from ruter_dagster.publishing.messages import SCHEMAS
from ruter_dagster.publishing.status import (
    STATUSES,
    ForecastStatus,
    deadline,
    due_statuses,
    is_complete,
    status_of,
    statuses_of_publication,
)

DAY = date(2026, 11, 20)
EXPECTED_BY = datetime(2026, 11, 20, 5, tzinfo=UTC)
BEFORE, AFTER = EXPECTED_BY - timedelta(hours=3), EXPECTED_BY + timedelta(minutes=1)


def due(known, now, published=()):
    return due_statuses(DAY, EXPECTED_BY, known, published, now)


def publication(known, publication_id, at, failure=None):
    return statuses_of_publication(DAY, EXPECTED_BY, known, publication_id, at, failure)


def states(statuses):
    return [(status.status, status.publication_id) for status in statuses]


def test_deadline_is_local_time():
    assert deadline(DAY, "06:00", "Europe/Oslo") == EXPECTED_BY
    assert deadline(date(2026, 7, 1), "06:00", "Europe/Oslo") == datetime(2026, 7, 1, 4, tzinfo=UTC)


def test_issue_date_is_expected_once():
    known = due([], BEFORE)
    assert states(known) == [("expected", None)]
    assert due(known, BEFORE) == []
    assert due(known, EXPECTED_BY) == []


def test_unpublished_issue_date_is_late_once_after_the_deadline():
    known = due([], BEFORE)
    late = due(known, AFTER)
    assert states(late) == [("late", None)]
    assert "deadline" in late[0].reason
    assert due([*known, *late], AFTER + timedelta(hours=1)) == []


def test_sensor_that_starts_late_sends_both():
    assert states(due([], AFTER)) == [("expected", None), ("late", None)]


def test_publication_in_time_is_published_only():
    known = due([], BEFORE)
    known += publication(known, "a", BEFORE)
    assert states(known) == [("expected", None), ("published", "a")]
    assert due(known, AFTER) == []
    assert is_complete(DAY, known, ["a"])


def test_correction_is_published_with_its_own_id():
    known = publication([], "a", BEFORE)
    known += publication(known, "b", BEFORE)
    assert states(known) == [("published", "a"), ("published", "b")]


def test_late_publication_recovers():
    known = due([], AFTER)
    known += publication(known, "a", AFTER)
    assert states(known)[2:] == [("published", "a"), ("recovered", "a")]
    assert due(known, AFTER) == []


def test_degraded_publication_recovers_with_the_model():
    known = publication([], "a", BEFORE, failure="broken")
    assert states(known) == [("degraded", "a")]
    assert known[0].reason == "broken"
    assert is_complete(DAY, known, ["a"])
    known += publication(known, "b", BEFORE)
    assert states(known)[1:] == [("published", "b"), ("recovered", "b")]
    assert states(publication(known, "c", BEFORE)) == [("published", "c")]


def test_late_beside_a_publication_recovers_in_the_next_tick():
    """Both read the topic before the other committed."""
    known = due([], BEFORE)
    known += [*publication(known, "a", AFTER), *due(known, AFTER)]
    assert states(known)[1:] == [("published", "a"), ("late", None)]
    assert not is_complete(DAY, known, ["a"])
    known += due(known, AFTER, ["a"])
    assert states(known)[3:] == [("recovered", "a")]
    assert is_complete(DAY, known, ["a"])
    assert due(known, AFTER, ["a"]) == []


def test_publication_that_did_not_see_late_recovers_in_the_next_tick():
    """`late` is committed while the publication, which has read the topic, still sends."""
    known = due([], BEFORE)
    sent = publication(known, "a", AFTER)
    known += [*due(known, AFTER), *sent]
    assert states(known)[1:] == [("late", None), ("published", "a")]
    assert not is_complete(DAY, known, ["a"])
    correction = publication(known, "b", AFTER)
    assert states(correction) == [("published", "b"), ("recovered", "b")]
    known += due(known, AFTER, ["a"])
    assert states(known)[3:] == [("recovered", "a")]
    assert is_complete(DAY, known, ["a"])
    assert states(publication(known, "b", AFTER)) == [("published", "b")]


def test_late_after_recovered_is_not_recovered_twice():
    known = publication([], "a", BEFORE, failure="broken")
    known += publication(known, "b", BEFORE)
    known += due([], AFTER)
    assert states(known)[-1] == ("late", None)
    assert due(known, AFTER, ["a", "b"]) == []
    assert is_complete(DAY, known, ["a", "b"])


def test_repeated_publication_sends_nothing():
    known = due([], AFTER)
    known += publication(known, "a", AFTER)
    assert publication(known, "a", AFTER) == []


def test_publication_without_status_is_not_late():
    """The publication is older than the topic of statuses."""
    assert due([], AFTER, ["a"]) == []
    assert is_complete(DAY, [], ["a"])


def test_other_issue_dates_do_not_count():
    yesterday = [ForecastStatus(DAY - timedelta(1), "published", BEFORE, BEFORE, "x")]
    assert states(due(yesterday, AFTER)) == [("expected", None), ("late", None)]


@pytest.mark.parametrize("seed", range(50))
def test_no_status_is_sent_twice_in_any_order(seed):
    """Ticks and publications at random, each of which may read the topic before the former one committed."""
    draw, known, unread, ids = random.Random(seed), [], [], []
    for minute in range(0, 600, 15):
        now = BEFORE + timedelta(minutes=minute)
        if draw.random() < 0.2:
            ids.append(f"p{len(ids)}")
            sent = publication(known, ids[-1], now, failure="broken" if draw.random() < 0.3 else None)
        else:
            sent = due(known, now, ids)
        known, unread = (known + unread, sent) if draw.random() < 0.8 else (known, [*unread, *sent])
        if unread and draw.random() < 0.9:
            known, unread = known + unread, []
    known += unread
    known += due(known, AFTER + timedelta(days=1), ids)
    for_publications = [status.status_id for status in known if status.publication_id]
    assert len(for_publications) == len(set(for_publications))
    assert not ids or is_complete(DAY, known, ids)


def test_messages_fit_the_schema_and_are_read_back():
    schema = json.loads((SCHEMAS / "forecast-status.v1.json").read_text())
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    known = [
        *due([], AFTER),
        *publication([], "a", AFTER, "broken"),
        *publication(due([], AFTER), "b", AFTER),
    ]
    assert {status.status for status in known} == set(STATUSES)
    for status in known:
        validator.validate(json.loads(status.to_json()))
        assert status_of(status.to_json().encode()) == status
    assert set(schema["properties"]) == set(schema["required"]) == set(json.loads(known[0].to_json()))
    assert schema["properties"]["status"]["enum"] == list(STATUSES)
