"""What runs in the tests' containers: `python container.py <job> [argument …]`. Starts in a tenth of a second: no boto3.

Pipes are dagster_pipes' own, but for their waits and for S3, which is asked by plain HTTP.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import dagster_pipes
from dagster_pipes import (
    PipesEnvVarParamsLoader,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)

BASE = Path(os.environ["SAGEMAKER_DOUBLE_CONTAINER_BASE"])
BEAT = 0.02
TRIES = 5
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=container/20261120/eu-west-1/s3/aws4_request, Signature=0"
}
"""The double reads who calls what from it, and checks no signature."""


class S3:
    """What Pipes need of boto3's client, repeating what is throttled as boto3 does."""

    def __init__(self, pause: float = BEAT) -> None:
        self.pause = pause

    def get_object(self, Bucket: str, Key: str) -> dict[str, BytesIO]:  # noqa: N803
        return {"Body": BytesIO(self._ask("GET", Bucket, Key))}

    def put_object(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: str | bytes,  # noqa: N803
        Metadata: Mapping[str, str] | None = None,  # noqa: N803
    ) -> None:
        named = {f"x-amz-meta-{name}": value for name, value in (Metadata or {}).items()}
        self._ask("PUT", Bucket, Key, Body.encode() if isinstance(Body, str) else Body, named)

    def _ask(
        self, method: str, bucket: str, key: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        answer, content = None, b""
        for _ in range(TRIES):
            connection = http.client.HTTPConnection(urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc)
            connection.request(method, f"/{bucket}/{key}", body, {**SIGNED, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status < 500:
                break
            time.sleep(self.pause)
        if answer is None or answer.status >= 300:
            raise RuntimeError(f"{method} {key}: {answer and answer.status} {content!r}")
        return content


def pipes() -> Any:
    """Pipes that send each message at the next beat."""
    dagster_pipes.time = SimpleNamespace(sleep=lambda seconds: time.sleep(BEAT))  # type: ignore[attr-defined]
    s3 = S3()
    return open_dagster_pipes(
        context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=-1)
    )


def sent(context: Any, chunks: int) -> Any:
    """The channel, once so many chunks are on S3."""
    channel = context._message_channel
    while not channel._buffer.empty() or channel._counter <= chunks:
        time.sleep(BEAT)
    return channel


def say(line: str) -> None:
    print(line, flush=True)


def reports(rows: str = "3", seconds: str = "0") -> None:
    """A job as it should be: two lines, one of them while it runs, a message and a materialisation."""
    say("line 1")
    with pipes() as context:
        context.log.info("counting")
        time.sleep(float(seconds))
        context.report_asset_materialization(metadata={"rows": int(rows)})
        say("line 2")


def reports_when_signalled() -> None:
    """As `reports`, but goes on only when somebody has laid `go` into the bucket."""
    say("line 1")
    with pipes() as context:
        while True:
            try:
                S3().get_object("bucket", "go")
                break
            except RuntimeError:
                time.sleep(0.1)
        context.report_asset_materialization(metadata={"rows": 3})


def chunk() -> None:
    """The shortest job that tells which one it is."""
    with pipes() as context:
        context.report_custom_message(context.get_extra("chunk"))


def refuses(path: str, reason: str) -> None:
    """Fails for good, with its reason where SageMaker looks for it."""
    (BASE / path).parent.mkdir(parents=True, exist_ok=True)
    (BASE / path).write_text(reason)
    with pipes() as context:
        context.report_asset_materialization(metadata={"rows": 1})
        say("line 1")
        raise SystemExit(65)


def breaks() -> None:
    """Ends with an exception that nobody wrote down."""
    with pipes():
        raise ValueError("counts of 2026-11-20 are negative")


def trains(epochs: str, *interrupted_at: str) -> None:
    """Goes on from its checkpoint, leaves one each epoch, and reports where it began; closes Pipes when it is interrupted.

    It waits for its interruption at some epochs, so that the interruption comes there however slow the machine is.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    checkpoint = BASE / "checkpoints" / "epoch"
    begun = int(checkpoint.read_text()) if checkpoint.exists() else 0
    with pipes() as context:
        sent(context, 1)  # the first chunk says `opened` alone, as every other container's
        context.log.info(f"from epoch {begun}")
        for epoch in range(begun + 1, int(epochs) + 1):
            checkpoint.write_text(str(epoch))
            say(f"epoch {epoch}")
            time.sleep(600 if str(epoch) in interrupted_at else 0.3)
        context.report_asset_materialization(metadata={"from_epoch": begun, "epochs": int(epochs)})


def never_opens() -> None:
    say("line 1")


def never_closes() -> None:
    with pipes() as context:
        context.report_asset_materialization(metadata={"rows": 1})
        say("line 1")
        time.sleep(0.2)
        os._exit(0)


def speaks(*hexadecimal: str) -> None:
    """Lays any bytes among its messages, as the next chunk."""
    with pipes() as context:
        sent(context, 1)
        context.report_asset_materialization(metadata={"rows": 1})
        channel = sent(context, 2)
        parameters = PipesEnvVarParamsLoader().load_messages_params()
        key = f"{parameters['key_prefix']}/{channel._counter}.json"
        S3().put_object(parameters["bucket"], key, bytes.fromhex("".join(hexadecimal)))
        channel._counter += 1


def counts_on_each_host(lines: str) -> None:
    """On every host lines of its own; Pipes on the first alone."""
    host = json.loads((BASE / "config" / "resourceconfig.json").read_text())["current_host"]
    for number in range(int(lines)):
        say(f"{host} line {number}")
        time.sleep(0.02)
    if host == "algo-1":
        with pipes() as context:
            context.report_asset_materialization(metadata={"rows": 1})


JOBS: dict[str, Callable[..., None]] = {
    job.__name__: job
    for job in (
        reports,
        reports_when_signalled,
        chunk,
        refuses,
        breaks,
        trains,
        never_opens,
        never_closes,
        speaks,
        counts_on_each_host,
    )
}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
