"""The HTTP endpoint below `/_double`, which controls the double, and the client that calls it."""

from __future__ import annotations

import http.client
import json
import os
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from .faults import KINDS
from .limits import Refused

if TYPE_CHECKING:
    from .server import Double

ANSWER = 60.0
"""Seconds that an answer of the double may take."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Control:
    """Each route is a method and a path; bodies and answers are JSON."""

    def __init__(self, double: Double) -> None:
        self._double = double
        self._routes: dict[str, Callable[[dict[str, Any]], Any]] = {
            "GET /_double": lambda _: self._overview(),
            "GET /_double/faults": lambda _: double.faults.listed(),
            "POST /_double/faults": lambda body: vars(double.faults.add(**body)),
            "DELETE /_double/faults": lambda _: double.faults.clear(),
            "GET /_double/calls": lambda query: double.calls.counts(timeline=bool(query.get("timeline"))),
            "DELETE /_double/calls": lambda _: double.calls.clear(),
            "GET /_double/resources": lambda _: double.calls.resources(),
            "GET /_double/jobs": lambda _: [job.as_dict() for job in list(double.jobs.jobs.values())],
            "POST /_double/stop": self._stop,
            "GET /_double/settings": lambda _: vars(double.settings),
            "PATCH /_double/settings": lambda body: double.settings.update(body),
            "POST /_double/athena/tables": lambda tables: double.athena.warehouse.tables.update(tables),
            "POST /_double/reset": lambda _: double.reset(),
        }

    def __call__(self, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        route = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].rstrip('/')}"
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        status = 200
        try:
            if route not in self._routes:
                raise ValueError(f"no route {route}; there are {sorted(self._routes)}")
            content = self._routes[route](json.loads(body) if body else query)
        except (ValueError, TypeError, KeyError, Refused) as error:
            status, content = 400, {"error": str(error)}
        except Exception as error:
            traceback.print_exc()
            status, content = 500, {"error": f"{error!r} in the double"}
        return status, {"Content-Type": "application/json"}, json.dumps(content, default=str).encode()

    def _overview(self) -> dict[str, Any]:
        """`folder` holds the folders of all containers."""
        process = {"pid": os.getpid(), "folder": str(self._double.folder)}
        return process | {"routes": sorted(self._routes), "faults": KINDS}

    def _stop(self, body: dict[str, Any]) -> None:
        job = self._double.jobs.find(body["job"])
        if job is None:
            raise ValueError(f"no job {body['job']}")
        self._double.jobs.stop(job)


class DoubleUnavailable(Exception):
    """The double does not answer: its process has ended, or it hangs. The message holds what it last wrote."""


class Remote:
    """The double from another process: `url` is its address. `last_words` says how the process of the double ended."""

    def __init__(self, url: str, last_words: Callable[[], str] = lambda: "") -> None:
        self.url = url
        self._last_words = last_words

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of a route. Raises `ValueError` if the double refuses it, `DoubleUnavailable` if there is no answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_double{path}", data=data, method=method)
        try:
            with DIRECT.open(request, timeout=ANSWER) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise (ValueError if error.code == 400 else DoubleUnavailable)(_error_of(text)) from None
        except (OSError, http.client.HTTPException) as error:
            words = f"the double at {self.url} does not answer {method} {path}: {error!r}"
            raise DoubleUnavailable(f"{words}. {self._last_words()}") from error

    def fault(self, kind: str, **fields: Any) -> None:
        """Injects a fault (`faults.py` lists kinds and fields): `fault("throttle", operations="Describe*", count=3)`."""
        self.ask("POST", "/faults", {"kind": kind, **fields})

    def faults(self) -> list[dict[str, Any]]:
        """The faults in force; `taken` says how often each struck."""
        return self.ask("GET", "/faults")

    def clear_faults(self) -> None:
        self.ask("DELETE", "/faults")

    def calls(self, *, timeline: bool = False) -> dict[str, Any]:
        """Counts since the last `clear_calls`: `total`, `jobs`, `callers`, `errors` (calls.py)."""
        return self.ask("GET", "/calls" + ("?timeline=1" if timeline else ""))

    def resources(self) -> dict[str, dict[str, list[str]]]:
        """ARNs of the resources that calls named since the last `clear_calls`, by access key and operation."""
        return self.ask("GET", "/resources")

    def clear_calls(self) -> None:
        self.ask("DELETE", "/calls")

    def jobs(self) -> list[dict[str, Any]]:
        """Every job: name, kind, status, secondary, starts, exits, pids, tags, instance_type, describe."""
        return self.ask("GET", "/jobs")

    def job(self, name: str) -> dict[str, Any]:
        return next(job for job in self.jobs() if job["name"] == name)

    def stop(self, job: str) -> None:
        """Stops a job as somebody in the console would."""
        self.ask("POST", "/stop", {"job": job})

    def set(self, **settings: Any) -> None:
        """Changes settings (`settings.py`)."""
        self.ask("PATCH", "/settings", settings)

    def tables(self, **uris: str) -> None:
        """Registers prefixes of Parquet files as tables of Athena: `tables(**{"warehouse.stop_visits": "s3://…/"})`."""
        self.ask("POST", "/athena/tables", uris)

    def reset(self) -> None:
        self.ask("POST", "/reset")

    def wait(self, condition: Callable[[], Any], *, seconds: float = 120.0, about: str = "it") -> Any:
        """The value of `condition` as soon as it is true. Raises `TimeoutError` after `seconds`."""
        due = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > due:
                raise TimeoutError(f"{about} did not come in {seconds} s; jobs: {self.jobs()}")
            time.sleep(0.02)
        return value

    def wait_for(self, job: str, *states: str, seconds: float = 120.0) -> dict[str, Any]:
        """The job once its status or secondary status is one of `states` (by default, once it is over)."""
        wanted = states or ("Completed", "Failed", "Stopped")

        def there() -> dict[str, Any] | None:
            found = [each for each in self.jobs() if each["name"] == job]
            return found[0] if found and {found[0]["status"], found[0]["secondary"]} & set(wanted) else None

        return self.wait(there, seconds=seconds, about=f"{job} in {wanted}")


def _error_of(text: str) -> str:
    try:
        return json.loads(text)["error"]
    except (ValueError, KeyError):
        return text
