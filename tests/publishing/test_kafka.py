"""Whatever happens to a publication, a read-committed consumer finds each journey's forecast exactly once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import Future
from datetime import UTC
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec
from confluent_kafka.cimpl import NewTopic
from jsonschema import Draft202012Validator, FormatChecker

from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.publishing import consumer, kafka, transaction
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection, require_broker
from ruter_dagster.publishing.consumer import read_markers, read_to_end, wait_until_readable
from ruter_dagster.publishing.kafka import publish
from ruter_dagster.publishing.markers import newest_marker
from ruter_dagster.publishing.messages import LOAD_FORECAST, OCCUPANCY_FORECAST, PUBLICATION, schema
from ruter_dagster.publishing.read_back import read_back
from ruter_dagster.publishing.topics import ensure_topics, topics_of
from ruter_dagster.publishing.transaction import Transaction
from tests.publishing.crashing_publisher import COMMITTED, MOMENTS
from tests.publishing.samples import ISSUE_DATE, PUBLISHING

REPOSITORY = Path(__file__).parents[2]
READ_COMMITTED, READ_UNCOMMITTED = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED


def _publish(forecasts: pl.DataFrame, connection: KafkaConnection, content_hash: str = "content", **more):
    return publish(forecasts, connection, content_hash=content_hash, **PUBLISHING | more)


def _assert_exactly_once(
    forecasts: pl.DataFrame, connection: KafkaConnection, content_hash: str = "content"
) -> None:
    """Consumers read exactly these forecasts, and the newest marker is that of their publication."""
    newest = newest_marker(read_markers(connection).values())
    assert newest is not None
    assert newest.content_hash == content_hash
    read = read_back(connection, newest.publication_id, ISSUE_DATE)
    assert read.faults(forecasts) == []
    assert [one.messages for one in (read.load_forecasts, read.occupancy_forecasts)] == [newest.messages] * 2


def test_publication_is_read_back_whole(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    sent: list[tuple[int, int]] = []
    result = _publish(forecasts, connection, progress=lambda *done: sent.append(done))

    read = read_back(connection, result.publication_id, ISSUE_DATE)

    assert result.outcome == "published"
    assert (result.marker.journeys, result.marker.messages, result.marker.calls) == (100, 100, 2000)
    assert read.load_forecasts.messages == read.occupancy_forecasts.messages == 100
    assert read.by_horizon == {0: 500, 1: 500, 2: 500, 3: 500}
    assert read.faults(forecasts) == []
    assert sent[-1] == (2000, 2000)


def test_published_messages_and_markers_meet_their_schemas(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    _publish(forecasts, connection)
    _publish(forecasts[40:], connection, "correction")
    topics = topics_of(connection)
    names = {
        topics.load_forecasts: LOAD_FORECAST,
        topics.occupancy_forecasts: OCCUPANCY_FORECAST,
        topics.publications: PUBLICATION,
    }
    for topic, name in names.items():
        validator = Draft202012Validator(schema(name), format_checker=FormatChecker())
        values = [
            json.loads(value)
            for batch in read_to_end(connection, topic)
            for _, value in batch
            if value is not None
        ]
        assert values
        assert [error.message for value in values for error in validator.iter_errors(value)] == []


def test_read_back_finds_differences(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    read = read_back(connection, _publish(forecasts, connection).publication_id, ISSUE_DATE)

    assert "2000 calls for 1999 on load-forecasts" in read.faults(forecasts[1:])
    other = forecasts.with_columns(trip_id=pl.lit("another") + pl.col("trip_id"))
    assert "calls of other departures on occupancy-forecasts" in read.faults(other)
    one_journey = forecasts.filter(pl.col("trip_id") == forecasts["trip_id"][0])
    assert "100 journeys for 4 on load-forecasts" in read.faults(one_journey)
    one_other = pl.when(pl.int_range(pl.len()) == 7)
    for column, value in (("mean", pl.col("mean") + 0.01), ("p90", pl.col("p90") + 1)):
        changed = forecasts.with_columns(one_other.then(value).otherwise(column).alias(column))
        assert read.faults(changed) == ["1 calls of other values on load-forecasts"]
    level = one_other.then(pl.lit("full")).otherwise("occupancy_level")
    assert read.faults(forecasts.with_columns(occupancy_level=level)) == [
        "1 calls of other values on load-forecasts",
        "1 calls of other values on occupancy-forecasts",
    ]


def test_read_back_finds_duplicates(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    result = _publish(forecasts, connection)
    topic = topics_of(connection).load_forecasts
    (key, value) = next(read_to_end(connection, topic))[0]
    again = Transaction(connection, topic)
    again.fence_previous()
    again.begin()
    again.send(topic, [key], [value])
    again.commit()
    wait_until_readable(connection, [topic])

    read = read_back(connection, result.publication_id, ISSUE_DATE)
    assert read.faults(forecasts) == ["1 messages more than once on load-forecasts"]


def test_unsorted_forecasts_are_published_whole(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    _publish(forecasts.sample(fraction=1, shuffle=True, seed=3), connection)
    _assert_exactly_once(forecasts, connection)


def test_batches_keep_journeys_whole(
    forecasts: pl.DataFrame, connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "BATCH_ROWS", 33)
    sent: list[int] = []
    _publish(forecasts, connection, progress=lambda done, _: sent.append(done))
    assert sent == list(range(40, 2001, 40))
    _assert_exactly_once(forecasts, connection)


def test_repeated_publication_sends_nothing(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    first = _publish(forecasts, connection)
    again = _publish(forecasts, connection)

    assert again.already_published
    assert again.marker == first.marker
    assert first.marker.published_at.tzinfo is UTC
    assert first.marker.issued_at == PUBLISHING["issued_at"]
    _assert_exactly_once(forecasts, connection)


@pytest.mark.parametrize("moment", MOMENTS)
def test_publisher_killed_at_any_moment_loses_and_repeats_nothing(
    moment: str, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    command = [sys.executable, "-m", "tests.publishing.crashing_publisher"]
    crash = subprocess.run(
        [*command, connection.bootstrap_servers, connection.topic_prefix, moment], cwd=REPOSITORY, check=False
    )
    assert crash.returncode == -signal.SIGKILL

    repeated = _publish(forecasts, connection)

    if moment != MOMENTS[4]:  # killed while it commits, the crash may fall on either side
        assert repeated.already_published == (moment == COMMITTED)
    _assert_exactly_once(forecasts, connection)


def test_what_was_published_can_be_read_at_once(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    """The broker answers a commit before it has marked it: about every second publication would be read too early."""
    reader = AdminClient(connection.client_config())
    for number in range(12):
        _publish(forecasts[number : number + 50], connection, f"content {number}")
        assert _ends(reader, connection, READ_COMMITTED) == _ends(reader, connection, READ_UNCOMMITTED)


def test_waiting_for_readers_ends_while_another_transaction_is_open(connection: KafkaConnection) -> None:
    topic = ensure_topics(connection).load_forecasts
    assert wait_until_readable(connection, [topic])
    open_one = Transaction(connection, topic)
    open_one.fence_previous()
    open_one.begin()
    open_one.send(topic, ["key"], ["value"])
    while not sum(_ends(AdminClient(connection.client_config()), connection, READ_UNCOMMITTED)):
        pass
    assert not wait_until_readable(connection, [topic], seconds=0.1)
    open_one.abort()
    assert wait_until_readable(connection, [topic])


def test_waiting_for_readers_outlasts_a_partition_without_a_leader(
    connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = ensure_topics(connection).load_forecasts
    asked: list[object] = []

    class Electing(AdminClient):
        def list_offsets(self, partitions: Any, *arguments: Any, **options: Any) -> Any:
            answers = super().list_offsets(partitions, *arguments, **options)
            asked.append(answers)
            if len(asked) == 2:
                answers = {partition: Future() for partition in partitions}
                for answer in answers.values():
                    answer.set_exception(KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)))
            return answers

    monkeypatch.setattr(consumer, "AdminClient", Electing)
    assert wait_until_readable(connection, [topic])
    assert len(asked) >= 3
    asked.clear()
    with pytest.raises(KafkaException):
        wait_until_readable(connection, [topic], seconds=-1.0)


def test_a_publisher_that_another_one_overtook_cannot_commit(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    def overtake(_sent: int, _total: int) -> None:
        assert not _publish(forecasts, connection).already_published

    with pytest.raises(PermanentFailure, match="Another publisher took over"):
        _publish(forecasts, connection, progress=overtake)

    _assert_exactly_once(forecasts, connection)


def test_messages_of_an_open_or_aborted_transaction_are_not_seen(connection: KafkaConnection) -> None:
    topic = ensure_topics(connection).load_forecasts
    open_one = Transaction(connection, topic)
    open_one.fence_previous()
    open_one.begin()
    open_one.send(topic, ["a", "b"], ["1", "2"])
    open_one._producer.flush()
    assert _offsets(connection, topic) >= 2
    assert list(read_to_end(connection, topic)) == []

    open_one.abort()
    assert list(read_to_end(connection, topic)) == []

    open_one.begin()
    open_one.send(topic, ["a", "b"], ["3", "4"])
    open_one.commit()
    assert sorted(value or b"" for batch in read_to_end(connection, topic) for _, value in batch) == [
        b"3",
        b"4",
    ]


def test_a_failure_on_the_way_leaves_nothing_visible(
    forecasts: pl.DataFrame, connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "BATCH_ROWS", 500)

    def disk_is_full(_sent: int, _total: int) -> None:
        raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        _publish(forecasts, connection, progress=disk_is_full)

    assert read_markers(connection) == {}
    for topic in topics_of(connection).message_topics:
        assert list(read_to_end(connection, topic)) == []


def test_more_messages_than_the_producer_can_queue_are_all_sent(
    forecasts: pl.DataFrame, connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_config = KafkaConnection.client_config
    monkeypatch.setattr(
        KafkaConnection,
        "client_config",
        lambda self: client_config(self) | ({"queue.buffering.max.messages": 10}),
    )
    _publish(forecasts, connection)
    _assert_exactly_once(forecasts, connection)


ABORT = KafkaError(KafkaError.INVALID_TXN_STATE, "abort", txn_requires_abort=True)
RETRY = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "not yet", retriable=True)


def _producer_whose_commits_first_fail(errors: list[KafkaError]) -> type[Producer]:
    class FailingProducer(Producer):
        def commit_transaction(self, *arguments: Any) -> None:
            if errors:
                raise KafkaException(errors.pop(0))
            super().commit_transaction(*arguments)

    return FailingProducer


@pytest.mark.parametrize("errors", [[ABORT, ABORT], [RETRY, RETRY, RETRY, RETRY], [RETRY, ABORT, RETRY]])
def test_aborted_transaction_is_repeated(
    errors: list[KafkaError],
    forecasts: pl.DataFrame,
    connection: KafkaConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = list(errors)
    monkeypatch.setattr(transaction, "Producer", _producer_whose_commits_first_fail(left))
    _publish(forecasts, connection)
    assert left == []
    _assert_exactly_once(forecasts, connection)


def test_a_transaction_that_is_always_aborted_is_given_up(
    forecasts: pl.DataFrame, connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "Producer", _producer_whose_commits_first_fail([ABORT] * 9))
    with pytest.raises(BrokerUnavailable, match=r"aborted the publication of 100 journeys .* 3 times: abort"):
        _publish(forecasts, connection)
    assert read_markers(connection) == {}


def test_messages_that_the_broker_refuses_fail_the_publication_whole(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    _make_topic_of_tiny_messages(connection)

    with pytest.raises(PermanentFailure, match="Message size too large"):
        _publish(forecasts, connection)

    assert read_markers(connection) == {}
    assert list(read_to_end(connection, topics_of(connection).occupancy_forecasts)) == []


def test_a_transaction_that_failed_while_it_was_sent_says_why(connection: KafkaConnection) -> None:
    topic = _make_topic_of_tiny_messages(connection)
    open_one = Transaction(connection, topic)
    open_one.fence_previous()
    open_one.begin()
    open_one.send(topic, ["a"], ["too long a message" * 100])
    open_one._producer.flush()
    with pytest.raises(PermanentFailure, match="Message size too large"):
        open_one.send(topic, ["b"], ["another"])


def test_fenced_transaction_names_the_reason(connection: KafkaConnection) -> None:
    topic = ensure_topics(connection).load_forecasts
    overtaken, newer = Transaction(connection, topic), Transaction(connection, topic)
    overtaken.fence_previous()
    overtaken.begin()
    newer.fence_previous()
    overtaken.send(topic, ["a"], ["1"])
    with pytest.raises(KafkaException):
        overtaken._producer.flush()
    with pytest.raises(PermanentFailure, match="Another publisher took over"):
        overtaken.send(topic, ["b"], ["2"])


@pytest.mark.parametrize("rows", [0, 5])
def test_forecasts_that_are_empty_or_of_another_date_are_refused(
    rows: int, forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    other = forecasts.head(rows).with_columns(issue_date=pl.col("issue_date").dt.offset_by("1d"))
    with pytest.raises(BadInput, match="forecasts of 2026-11-20"):
        _publish(other, connection)


def test_error_names_both_remedies_when_no_broker_answers(forecasts: pl.DataFrame) -> None:
    nobody = KafkaConnection(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(BrokerUnavailable) as failure:
        _publish(forecasts, nobody)
    assert "127.0.0.1:1" in str(failure.value)
    assert "`ruter-dagster broker`" in str(failure.value)
    assert "KAFKA_BOOTSTRAP_SERVERS" in str(failure.value)


def test_topics_are_made_once_with_the_partitions_asked_for(connection: KafkaConnection) -> None:
    topics = ensure_topics(connection)
    ensure_topics(connection.model_copy(update={"partitions": 9}))

    partitions = require_broker(connection)
    assert partitions[topics.load_forecasts] == partitions[topics.occupancy_forecasts] == 3
    assert partitions[topics.publications] == 1


def test_new_topics_are_awaited(connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a busy broker, to which the controller's word comes late."""
    late: list[dict[str, int]] = [{}, {}, {}]
    monkeypatch.setattr(
        "ruter_dagster.publishing.topics.require_broker",
        lambda of: late.pop() if late else require_broker(of),
    )
    ensure_topics(connection)
    assert not late


def test_topics_of_which_the_broker_never_hears_are_named(
    connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ruter_dagster.publishing.topics.require_broker", lambda of: {})
    with pytest.raises(BrokerUnavailable, match=r"does not list .*load-forecasts.* may describe the topics"):
        ensure_topics(connection)


@pytest.mark.parametrize(("retention_hours", "expected"), [(-1, "-1"), (48, "172800000")])
def test_topics_keep_messages_as_configured_and_markers_for_ever(
    retention_hours: int, expected: str, connection: KafkaConnection
) -> None:
    topics = ensure_topics(connection.model_copy(update={"retention_hours": retention_hours}))
    assert _setting(connection, topics.load_forecasts, "retention.ms") == expected
    assert _setting(connection, topics.publications, "cleanup.policy") == "compact"


def _make_topic_of_tiny_messages(connection: KafkaConnection) -> str:
    topic = NewTopic(
        topics_of(connection).load_forecasts,
        3,
        1,
        config={"max.message.bytes": "100", "cleanup.policy": "compact,delete"},
    )
    admin = AdminClient(connection.client_config())
    admin.create_topics([topic])[topic.topic].result()
    return topic.topic


def _ends(admin: AdminClient, connection: KafkaConnection, level: IsolationLevel) -> list[int]:
    """The end of each partition for readers of a level, in one request."""
    topics = topics_of(connection)
    numbers = {topics.load_forecasts: 3, topics.occupancy_forecasts: 3, topics.publications: 1}
    asked = {
        TopicPartition(topic, number): OffsetSpec.latest()
        for topic, count in numbers.items()
        for number in range(count)
    }
    answered = admin.list_offsets(asked, isolation_level=level)
    return [answered[partition].result().offset for partition in asked]


def _offsets(connection: KafkaConnection, topic: str) -> int:
    """Messages that the broker has stored, committed or not."""
    consumer = Consumer(
        connection.client_config() | {"group.id": "offsets", "isolation.level": "read_uncommitted"}
    )
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in range(3)]
    consumer.close()
    return sum(ends)


def _setting(connection: KafkaConnection, topic: str, name: str) -> str | None:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient(connection.client_config())
    return admin.describe_configs([resource])[resource].result()[name].value
