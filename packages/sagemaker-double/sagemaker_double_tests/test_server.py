"""The double answers under load, ends its containers, and says why it does not answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from sagemaker_double.control import DoubleUnavailable, Remote
from sagemaker_double.faults import Faults
from sagemaker_double.logs import LogShipper, Stream
from sagemaker_double.process import aws_environment, double_process
from sagemaker_double.requests import processing, training
from sagemaker_double.running import Run
from sagemaker_double.server import Double
from sagemaker_double.settings import Settings

ONCE = Config(retries={"total_max_attempts": 1}, max_pool_connections=100)
SLEEP = "import time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts its background programs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_calls_are_answered_during_resets(sagemaker_double: Remote, aws: Any) -> None:
    s3, sagemaker = aws("s3", config=ONCE), aws("sagemaker", config=ONCE)
    calls: list[Callable[[int], Any]] = [
        lambda number: sagemaker_double.jobs(),
        lambda number: s3.list_buckets(),
        lambda number: sagemaker.list_training_jobs(),
        lambda number: sagemaker.create_processing_job(**processing(f"job-{number}", SLEEP)),
    ]
    with ThreadPoolExecutor(100) as pool:
        for _ in range(3):
            answers = [pool.submit(calls[number % len(calls)], number) for number in range(120)]
            sagemaker_double.reset()
            wait(answers)
            errors = [error for error in (answer.exception() for answer in answers) if error]
            assert not [error for error in errors if not isinstance(error, ClientError)]
    sagemaker_double.reset()
    assert sagemaker_double.jobs() == []
    assert containers(sagemaker_double) == []


def containers(double: Remote) -> list[str]:
    """Processes of the double's containers."""
    folder = double.ask("GET", "")["folder"].encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if b"CONTAINER_BASE=" + folder in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_incomplete_request_blocks_no_other_call(sagemaker_double: Remote, aws: Any) -> None:
    address = urlsplit(sagemaker_double.url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as unfinished:
        unfinished.sendall(
            b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nAction"
        )
        with ThreadPoolExecutor(1) as pool:
            pool.submit(aws("s3", config=ONCE).list_buckets).result(timeout=60)


def test_reset_does_not_wait_for_slow_stops(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker_double.fault("console_stop", on_log="ready")
    sagemaker_double.fault("slow_stop", seconds=600)
    aws("sagemaker").create_processing_job(**processing("job", SLEEP))
    (pid,) = sagemaker_double.wait_for("job", "Stopping")["pids"]
    sagemaker_double.reset()
    # The folder of a job is removed at its end: the job has ended, although its stop takes ten minutes.
    assert list(Path(sagemaker_double.ask("GET", "")["folder"]).iterdir()) == []
    assert sagemaker_double.jobs() == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_slow_call_of_a_reset_double_has_no_effect(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker_double.fault("slow", operations="Create*", seconds=600)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(aws("sagemaker", config=ONCE).create_processing_job, **processing("job"))
        sagemaker_double.wait(lambda: sagemaker_double.faults()[0]["taken"])
        sagemaker_double.reset()
        assert call.exception(timeout=60) is not None
    assert sagemaker_double.jobs() == []


def test_job_ends_although_the_double_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its callers would wait for ever."""

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Run, "close_streams", fail)
    double = Double().start()
    try:
        double.jobs.call("CreateTrainingJob", training("job"))
        (execution,) = double.executions.values()
        assert execution.ended.wait(timeout=60)
        assert execution.job.failure_reason == ("InternalServerError: OSError('no space left') in the double")
        assert execution.job.status == "Failed"
    finally:
        double.stop()


def test_clock_that_is_set_back_loses_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shipper = LogShipper(Settings(region="eu-north-1"), Faults())
    stream: Stream = shipper.open("job", "/aws/sagemaker/TrainingJobs", "job/algo-1")
    shipper.stop()
    now = time.time()
    for step, line in enumerate(("first", "second", "third")):
        monkeypatch.setattr(time, "time", lambda at=now - step: at)
        stream.add(line)
    monkeypatch.undo()
    stream.close()
    events = stream._backend.groups[stream.group].streams[stream.name].events
    assert [event.message for event in events] == ["first", "second", "third"]


@pytest.mark.usefixtures("interruptible")
def test_death_of_the_double_interrupts_the_test(capfd: pytest.CaptureFixture[str]) -> None:
    with double_process() as double:
        assert double.jobs() == []
        pid = int(double.ask("GET", "")["pid"])
        with pytest.raises(KeyboardInterrupt):
            os.kill(pid, signal.SIGKILL)
            time.sleep(60)
        with pytest.raises(DoubleUnavailable, match="It ended with exit code -9"):
            double.jobs()
    assert "It ended with exit code -9" in capfd.readouterr().err


def test_double_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such settings: \\['speed'\\]"), double_process(speed=1):
        pass


ESCAPED = "import subprocess, time; child = subprocess.Popen(['sleep', '600'], start_new_session=True); print('ready', flush=True)"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc")
def test_process_that_leaves_the_container_ends_with_it(sagemaker_double: Remote, aws: Any) -> None:
    aws("sagemaker").create_processing_job(**processing("job", ESCAPED + "; time.sleep(600)"))
    sagemaker_double.wait_for("job", "Training")
    sagemaker_double.wait(lambda: len(containers(sagemaker_double)) == 2)
    aws("sagemaker").stop_processing_job(ProcessingJobName="job")
    sagemaker_double.wait_for("job")
    sagemaker_double.wait(lambda: containers(sagemaker_double) == [])


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc")
@pytest.mark.usefixtures("interruptible")
def test_killed_double_leaves_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    with double_process() as double:
        for name, value in aws_environment(double.url).items():
            monkeypatch.setenv(name, value)
        boto3.Session().client("sagemaker").create_processing_job(**processing("job", SLEEP))
        double.wait(lambda: double.job("job")["pids"])
        (pid,) = double.job("job")["pids"]
        overview = double.ask("GET", "")
        with pytest.raises(KeyboardInterrupt):
            os.kill(int(overview["pid"]), signal.SIGKILL)
            time.sleep(60)
    assert not Path(overview["folder"]).exists()
    double.wait(
        lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    )


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_double_and_removes_its_folder(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sagemaker_double", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(Remote(process.stdout.readline().strip()).ask("GET", "")["folder"])
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
    assert not folder.exists()


def test_double_of_another_region_is_found_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    with double_process(region="eu-north-1") as double:
        for name, value in aws_environment(double.url, "eu-north-1").items():
            monkeypatch.setenv(name, value)
        boto3.Session().client("sagemaker").create_training_job(**training("job", "print('a line')"))
        double.wait_for("job")
        logs = boto3.Session().client("logs")
        (stream,) = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"]
        assert stream["logStreamName"].startswith("job/")
