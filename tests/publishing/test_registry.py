"""With a Schema Registry, the schemas are registered, and each value has its schema's id."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pydantic import SecretStr

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection, SchemaRegistry
from ruter_dagster.publishing.consumer import read_markers, read_to_end
from ruter_dagster.publishing.kafka import publish
from ruter_dagster.publishing.markers import Marker
from ruter_dagster.publishing.messages import LOAD_FORECAST, OCCUPANCY_FORECAST, schema
from ruter_dagster.publishing.read_back import read_back
from ruter_dagster.publishing.registry import value_prefix
from ruter_dagster.publishing.topics import topics_of
from tests.publishing.samples import ISSUE_DATE, PUBLISHING
from tests.publishing.schema_compatibility import incompatibilities


class Registry(ThreadingHTTPServer):
    """The part of a Schema Registry's REST API that registers schemas, with the compatibility FORWARD."""

    def __init__(self, credentials: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.credentials = credentials
        self.subjects: dict[str, list[int]] = {}
        self.schemas: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def register(self, subject: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert body["schemaType"] == "JSON"
        registered = self.subjects.setdefault(subject, [])
        for number in registered:
            if self.schemas[number - 1] == body:
                return 200, {"id": number}
        if registered:
            former = json.loads(self.schemas[registered[-1] - 1]["schema"])
            if faults := incompatibilities(former, json.loads(body["schema"])):
                return 409, {"error_code": 409, "message": f"incompatible: {faults}"}
        self.schemas.append(body)
        registered.append(len(self.schemas))
        return 200, {"id": len(self.schemas)}


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, kind, subject, *_ = unquote(self.path.partition("?")[0]).split("/")
        if not self._is_allowed():
            return self._answer(401, {"error_code": 401, "message": "Unauthorized"})
        assert kind == "subjects", self.path
        return self._answer(*self.server.register(subject, body))

    def do_GET(self) -> None:
        _, kind, _, number, *_ = self.path.partition("?")[0].split("/")
        assert kind == "schemas", self.path
        self._answer(200, self.server.schemas[int(number) - 1])

    def _is_allowed(self) -> bool:
        expected = self.server.credentials
        token = base64.b64encode(expected.encode()).decode() if expected else None
        return token is None or self.headers["Authorization"] == f"Basic {token}"

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def running_registry(credentials: str | None = None) -> Iterator[Registry]:
    with Registry(credentials) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _with(
    connection: KafkaConnection, url: str, user: str | None = None, password: str = ""
) -> KafkaConnection:
    registry = SchemaRegistry(url=url, username=user, password=SecretStr(password) if user else None)
    return connection.model_copy(update={"schema_registry": registry})


ANY = KafkaConnection(bootstrap_servers="127.0.0.1:1")


def test_values_have_the_id_of_the_registered_schema(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    topics = topics_of(connection)
    with running_registry() as registry:
        result = publish(forecasts, _with(connection, registry.url), content_hash="c", **PUBLISHING)
        assert registry.subjects == {
            f"{topics.load_forecasts}-value": [1],
            f"{topics.occupancy_forecasts}-value": [2],
        }
        assert json.loads(registry.schemas[1]["schema"]) == schema(OCCUPANCY_FORECAST)
        deserialize = JSONDeserializer(schema(LOAD_FORECAST).__str__().replace("'", '"'), None)
        context = SerializationContext(topics.load_forecasts, MessageField.VALUE)
        values = [value for batch in read_to_end(connection, topics.load_forecasts) for _, value in batch]
    assert {value[:5] for value in values if value} == {b"\x00\x00\x00\x00\x01"}
    assert deserialize(values[0], context)["publicationId"] == result.publication_id
    assert read_back(connection, result.publication_id, ISSUE_DATE).faults(forecasts) == []


def test_correction_sends_all_journeys_if_the_format_of_values_changes(
    forecasts: pl.DataFrame, connection: KafkaConnection
) -> None:
    rows = {"first": forecasts} | {
        name: forecasts.with_columns(mean=pl.when(pl.int_range(pl.len()) == 7).then(number).otherwise("mean"))
        for number, name in enumerate(("switched on", "corrected", "switched off"))
    }

    def publish_rows(name: str, to: KafkaConnection) -> Marker:
        def read_former(marker: Marker, columns: Sequence[str], where: pl.Expr) -> pl.DataFrame:
            return rows[marker.content_hash].filter(where).select(columns)

        return publish(rows[name], to, content_hash=name, read_former=read_former, **PUBLISHING).marker

    with running_registry() as registry:
        with_registry = _with(connection, registry.url)
        publish_rows("first", connection)
        switched_on = publish_rows("switched on", with_registry)
        corrected = publish_rows("corrected", with_registry)
        switched_off = publish_rows("switched off", connection)
    assert (switched_on.messages, corrected.messages, switched_off.messages) == (100, 1, 100)
    assert [marker.schema_ids for marker in read_markers(connection).values()] == [
        (None, None), (1, 2), (1, 2), (None, None),
    ]  # fmt: skip
    assert read_back(connection, switched_off.publication_id, ISSUE_DATE).faults(rows["switched off"]) == []


def test_schema_is_registered_once() -> None:
    with running_registry() as registry:
        prefixes = {value_prefix(_with(ANY, registry.url), "topic", LOAD_FORECAST) for _ in range(3)}
        assert prefixes == {b"\x00\x00\x00\x00\x01"}
        assert registry.subjects == {"topic-value": [1]}


def test_values_are_plain_json_without_a_registry() -> None:
    assert value_prefix(ANY, "topic", LOAD_FORECAST) == b""


def test_incompatible_schema_is_refused(forecasts: pl.DataFrame, connection: KafkaConnection) -> None:
    topic = topics_of(connection).load_forecasts
    other = schema(LOAD_FORECAST)
    other["required"] = [*other["required"], "anotherField"]
    with running_registry() as registry:
        registry.register(f"{topic}-value", {"schemaType": "JSON", "schema": json.dumps(other)})
        with pytest.raises(PermanentFailure, match=r"did not register .*anotherField.* FORWARD"):
            publish(forecasts, _with(connection, registry.url), content_hash="c", **PUBLISHING)
    assert read_markers(connection) == {}


def test_credentials_are_sent() -> None:
    with running_registry("user:secret") as registry:
        right = _with(ANY, registry.url, "user", "secret")
        assert value_prefix(right, "topic", LOAD_FORECAST)
        with pytest.raises(PermanentFailure, match="RUTER_SCHEMA_REGISTRY_PASSWORD") as refused:
            value_prefix(_with(ANY, registry.url, "user", "wrong"), "topic", LOAD_FORECAST)
    assert "wrong" not in str(refused.value)
    assert "secret" not in repr(right)


def test_silent_registry_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ruter_dagster.publishing.registry._RETRIES", 0)
    with running_registry() as registry:
        silent = _with(ANY, registry.url)
    with pytest.raises(BrokerUnavailable, match="Check RUTER_SCHEMA_REGISTRY_URL"):
        value_prefix(silent, "topic", LOAD_FORECAST)
