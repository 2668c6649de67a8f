"""docs/messages.md: its example messages have the fields of the schemas, and its consumer reads what was committed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.consumer import wait_until_readable
from ruter_dagster.publishing.kafka import publish
from ruter_dagster.publishing.messages import LOAD_FORECAST, OCCUPANCY_FORECAST, PUBLICATION, schema
from ruter_dagster.publishing.topics import topics_of
from ruter_dagster.publishing.transaction import Transaction
from tests.publishing.samples import PUBLISHING

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text()
SCHEMAS = {
    "load-forecasts": schema(LOAD_FORECAST),
    "occupancy-forecasts": schema(OCCUPANCY_FORECAST),
    "publications": schema(PUBLICATION),
    "forecast-status": schema("forecast-status", 1),
}
"""Schemas by topic."""
EXAMPLES = {
    topic: (key, json.loads(value))
    for topic, key, value in re.findall(
        r"^Topic `<prefix>([\w-]+)`, ([^\n]*):\n\n```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL
    )
}
"""Key in words and value of each example, by topic."""
END_SECONDS = 120
"""Limit of a consumer that does not work. A working one needs 3 s."""


def _fields(described: dict[str, Any]) -> list[str]:
    return list(described["properties"])


def _call_fields(topic: str) -> list[str]:
    return _fields(SCHEMAS[topic]["properties"]["calls"]["items"])


def test_page_has_an_example_of_each_topic() -> None:
    assert EXAMPLES.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("topic", SCHEMAS)
def test_example_has_the_fields_of_its_schema(topic: str) -> None:
    _, value = EXAMPLES[topic]
    assert list(value) == _fields(SCHEMAS[topic])
    faults = Draft202012Validator(SCHEMAS[topic], format_checker=FormatChecker()).iter_errors(value)
    assert [fault.message for fault in faults] == []
    if topic in ("load-forecasts", "occupancy-forecasts"):
        assert [list(call) for call in value["calls"]] == [_call_fields(topic)] * 2


def test_examples_belong_together() -> None:
    key, load = EXAMPLES["load-forecasts"]
    marker_key, marker = EXAMPLES["publications"]
    assert key == f"key `{load['operatingDay']}|{load['serviceJourneyRef']}`"
    assert marker_key == f"key `{marker['publicationId']}`"
    publications = {value["publicationId"] for _, value in EXAMPLES.values()}
    assert publications == {marker["publicationId"]}


def test_page_lists_the_fields_that_the_public_message_lacks() -> None:
    rows = dict(re.findall(r"^\| (journey|call) \| (`.*`) \|$", PAGE, re.MULTILINE))
    listed = {part: re.findall(r"`(\w+)`", fields) for part, fields in rows.items()}
    internal, public = SCHEMAS["load-forecasts"], SCHEMAS["occupancy-forecasts"]
    assert listed == {
        "journey": [name for name in _fields(internal) if name not in _fields(public)],
        "call": [
            name for name in _call_fields("load-forecasts") if name not in _call_fields("occupancy-forecasts")
        ],
    }


def test_consumer_of_the_page_reads_committed_messages_and_tombstones(
    forecasts: pl.DataFrame, connection: KafkaConnection, tmp_path: Path
) -> None:
    """100 journeys are published, one leaves the plan, and a journey of an aborted publication is never read."""
    topic = topics_of(connection).occupancy_forecasts
    trip = forecasts["trip_id"][0]
    publish(forecasts, connection, content_hash="first", **PUBLISHING)
    _abort(connection, topic)
    left = (pl.col("trip_id") == trip) & (pl.col("operating_date") == forecasts["operating_date"][0])
    publish(forecasts.filter(~left), connection, content_hash="second", **PUBLISHING)
    wait_until_readable(connection, [topic])
    assert _last_state(tmp_path, connection.bootstrap_servers, topic) == "99 journeys"


def _abort(connection: KafkaConnection, topic: str) -> None:
    """A publication of a journey that is aborted after the broker has got it."""
    transaction = Transaction(connection, f"{topic} aborted")
    transaction.fence_previous()
    transaction.begin()
    transaction.send(topic, ["2026-11-20|another"], [json.dumps({"schemaVersion": 2})])
    assert transaction._producer.flush(30) == 0
    transaction.abort()


def _last_state(folder: Path, servers: str, topic: str) -> str:
    """The first line of the page's consumer that it repeats, except for that of an empty state."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    file = folder / "read_forecasts.py"
    file.write_text(code)
    command = ["timeout", str(END_SECONDS), sys.executable, str(file), servers, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        last = ""
        for line in consumer.stdout:
            if line == last != "0 journeys\n":
                break
            last = line
        consumer.terminate()
    return last.strip()
