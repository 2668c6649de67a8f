"""GitLab's API over HTTP: one request and its JSON answer."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import SecretStr

from ruter_dagster.contracts.errors import PermanentFailure

TIMEOUT_SECONDS = 20


class GitLabBusy(Exception):
    """GitLab did not answer, or refused for now."""


@dataclass(frozen=True)
class Project:
    """A project's API: `api` is its address, such as https://gitlab.com/api/v4, and `project` is the project's id.

    `refusal` is the sentence for a request that GitLab refuses, with {} for its answer. `token_header` is JOB-TOKEN for the token
    of a CI job.
    """

    api: str
    project: str
    token: SecretStr
    refusal: str
    token_header: str = "PRIVATE-TOKEN"


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: urllib would send the token to the other address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def send(project: Project, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """One request and its JSON answer. Raises `GitLabBusy` or `PermanentFailure`, never with the token in the message."""
    address = f"{project.api}/projects/{project.project}{path}"
    request = Request(
        address,
        json.dumps(body).encode() if body else None,
        {project.token_header: project.token.get_secret_value(), "Content-Type": "application/json"},
        method=method,
    )
    try:
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read() or b"null")
    except HTTPError as error:
        if error.code == 429 or error.code >= 500:
            raise GitLabBusy(f"GitLab answers {error.code} {error.reason} at {address}") from None
        raise PermanentFailure(project.refusal.format(f"{error.code} {error.reason} at {address}")) from None
    except (OSError, http.client.HTTPException) as error:
        raise GitLabBusy(f"GitLab does not answer at {address} ({error})") from None
    except ValueError:
        raise PermanentFailure(
            f"{address} does not answer in JSON, so it is not GitLab's API. Check CI_API_V4_URL"
        ) from None


def required(variables: Mapping[str, str], name: str, remedy: str) -> str:
    """The value of a variable. Raises `PermanentFailure` with the remedy if it is missing."""
    value = variables.get(name, "").strip()
    if not value:
        raise PermanentFailure(f"{name} is not set: {remedy}")
    return value
