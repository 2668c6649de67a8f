"""The WSGI layer before moto: counts and disturbs calls, answers SageMaker's job calls itself, and hands on the rest."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from .calls import Calls
from .faults import Faults
from .limits import Refused
from .resources import resources_of
from .settings import Settings

OWN_CREDENTIAL = "the-double-itself"
"""Access key of the double's own calls, which are neither counted nor disturbed."""
Answer = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/x-amz-json-1.1"}


class Service(Protocol):
    """Answers some calls of one AWS service; `onward` asks moto."""

    def owns(self, operation: str, request: dict[str, Any]) -> bool: ...

    def answer(self, operation: str, request: dict[str, Any], onward: Callable[[], Answer]) -> Answer: ...


class Call:
    """One request to AWS, read whole: moto holds a lock while it reads a body, and an unread body blocks the connection."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        body = _read_body(environ)
        scope = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        self.caller = scope[1] if scope else ""
        self.own = self.caller == OWN_CREDENTIAL
        self.service = scope[2] if scope else "s3"
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        self.request: dict[str, Any] = {}
        if target:
            with suppress(ValueError):
                self.request = json.loads(body or b"{}")
        elif self.service == "s3":
            target = _s3_operation(environ)
            if target == "PostBucket":
                self.request = {"Keys": re.findall(r"<Key>([^<]*)</Key>", body.decode(errors="replace"))}
        else:
            target = "".join(parse_qs(body.decode(errors="replace")).get("Action", [""])[:1])
        self.xml = self.service == "s3" or bool(target and not environ.get("HTTP_X_AMZ_TARGET"))
        """Whether the answer is XML: of S3, and of services whose calls are forms with an `Action`, such as IAM and STS."""
        self.name = target.split(".")[-1] or environ["REQUEST_METHOD"]
        self.operation = f"{self.service}.{self.name}"

    @property
    def job(self) -> str:
        """The job it concerns; of a log call the stream's, of tags the ARN's."""
        for key in ("ProcessingJobName", "TrainingJobName"):
            if key in self.request:
                return str(self.request[key])
        for key in ("logStreamName", "logStreamNamePrefix"):
            if key in self.request:
                return str(self.request[key]).split("/")[0]
        streams = self.request.get("logStreamNames") or [""]
        return streams[0].split("/")[0] or self.request.get("ResourceArn", "").partition("-job/")[2]

    def resources(self, region: str) -> list[str]:
        """ARNs of the resources that it names."""
        path = self.environ.get("PATH_INFO", "")
        return resources_of(self.service, self.name, self.request, path, region)


def _read_body(environ: dict[str, Any]) -> bytes:
    """The body, which moto reads again. A chunked body, whose length nobody knows, is left to moto."""
    if environ.get("wsgi.input_terminated"):
        return b""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _s3_operation(environ: dict[str, Any]) -> str:
    method = environ["REQUEST_METHOD"]
    key = environ.get("PATH_INFO", "").strip("/").partition("/")[2]
    if method == "GET" and not key:
        return "ListObjects"
    return method.capitalize() + ("Object" if key else "Bucket")


class Application:
    """`services` by the name that signs their calls; `control` answers below `/_double`; `moto` the rest."""

    def __init__(
        self,
        moto: Any,
        settings: Settings,
        faults: Faults,
        calls: Calls,
        services: dict[str, Service],
        control: Callable[..., Answer],
    ) -> None:
        self._moto, self._settings, self._faults, self._calls = moto, settings, faults, calls
        self._services, self._control = services, control

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_double"):
            return _send(self._control(environ), start_response)
        if path.startswith("/moto-api"):
            return self._moto(environ, start_response)
        call = Call(environ)
        if call.own:
            return self._moto(environ, start_response)
        return self._answer_disturbed(call, start_response)

    def _answer_disturbed(self, call: Call, start_response: Callable[..., Any]) -> Iterable[bytes]:
        where = {"job": call.job, "operation": call.operation}
        if not self._slow(where, after_effect=False):
            return _cut(call.environ)
        if self._faults.take("cut", **where):
            self._count(call, 599)
            return _cut(call.environ)
        refusal = self._refusal(call, where)
        answer = refusal or self._answer(call)
        self._count(call, answer[0])
        if refusal:
            return _send(refusal, start_response)
        if not self._slow(where, after_effect=True):
            return _cut(call.environ)
        if answer[0] < 400 and (fault := self._faults.take("lost_answer", **where)):
            if fault.how == "cut":
                return _cut(call.environ)
            answer = _error("InternalFailure", "The answer was lost.", 500, call)
        return _send(answer, start_response)

    def _count(self, call: Call, status: int) -> None:
        self._calls.add(call.operation, call.job, status, call.caller, call.resources(self._settings.region))

    def _slow(self, where: dict[str, str], *, after_effect: bool) -> bool:
        """False if the faults are cleared while the call waits."""
        fault = self._faults.take("slow", **where, after_effect=after_effect)
        return fault is None or self._faults.pause(fault.seconds)

    def _refusal(self, call: Call, where: dict[str, str]) -> Answer | None:
        """The answer of a fault or of a rate; None if the call goes through."""
        throttled = _throttled(call)
        if self._faults.take("throttle", **where):
            return throttled
        if fault := self._faults.take("error", **where):
            return _error(fault.code or "InternalFailure", fault.message, fault.status, call)
        rate = self._settings.rates.get(call.operation)
        if rate is not None and self._calls.within(call.operation, 1.0) >= rate:
            return throttled
        return None

    def _answer(self, call: Call) -> Answer:
        service = self._services.get(call.service)
        try:
            if service is not None and service.owns(call.name, call.request):
                return service.answer(call.name, call.request, lambda: self._of_moto(call))
        except Refused as refused:
            return _error(refused.code, refused.message, refused.status, call)
        return self._of_moto(call)

    def _of_moto(self, call: Call) -> Answer:
        got: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            got["status"], got["headers"] = int(status.split()[0]), dict(headers)

        parts = self._moto(call.environ, start)
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return got["status"], got["headers"], body


def answer(content: Any) -> Answer:
    return 200, JSON, json.dumps(content, default=str).encode()


def _throttled(call: Call) -> Answer:
    """Each protocol has an error of its own for too many calls."""
    if call.service == "s3":
        return _error("SlowDown", "Please reduce your request rate.", 503, call)
    return _error("Throttling" if call.xml else "ThrottlingException", "Rate exceeded", 400, call)


def _error(code: str, message: str, status: int, call: Call) -> Answer:
    if call.xml:
        error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        body = error if call.service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
        return status, {"Content-Type": "application/xml"}, f"<?xml version='1.0'?>{body}".encode()
    body = json.dumps({"__type": code, "message": message, "Message": message})
    return status, JSON | {"x-amzn-ErrorType": code}, body.encode()


def _send(answer: Answer, start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, headers, body = answer
    start_response(f"{status} {'OK' if status < 400 else 'Error'}", list(headers.items()))
    return [body]


def _cut(environ: dict[str, Any]) -> Iterable[bytes]:
    """Ends the connection without an answer."""
    with suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("cut by the double")
