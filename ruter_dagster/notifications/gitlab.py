"""Posts a note to the open merge requests of a branch, through GitLab's API. A later note of the branch replaces the earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.notifications.gitlab_api import GitLabBusy, Project, required, send

TOKEN_VARIABLE = "GITLAB_NOTE_TOKEN"
ATTEMPTS = 4
_PAGE = 100
MAX_CHARACTERS = 1_000_000
"""The longest note that GitLab accepts."""
_CUT = "\n\nThe note is longer than GitLab accepts, and ends here. The log of the job has all of it."
_FOLD_END = "\n\n</details>"
_REFUSAL = (
    f"GitLab refused the note: {{}}. {TOKEN_VARIABLE} must be a token of this project with the scope api and the role Reporter "
    "or higher"
)


@dataclass(frozen=True)
class MergeRequest:
    """An open merge request: its project, and its number in the project."""

    project: Project
    number: int

    def __str__(self) -> str:
        return f"!{self.number}"


def merge_requests(variables: Mapping[str, str]) -> list[MergeRequest]:
    """The open merge requests of the branch, from the variables of a GitLab CI job. None if there are none yet.

    Raises `PermanentFailure` if a variable is missing or wrong.
    """
    api = required(variables, "CI_API_V4_URL", "GitLab CI sets it; without CI, leave out --post")
    project_id = required(variables, "CI_PROJECT_ID", "GitLab CI sets it; without CI, leave out --post")
    token = required(variables, TOKEN_VARIABLE, "set it to a project access token with the scope api")
    if not api.startswith(("https://", "http://")):
        raise PermanentFailure(f"CI_API_V4_URL={api} is no web address. Correct it, or leave out --post")
    requests = []
    for reference in filter(None, variables.get("CI_OPEN_MERGE_REQUESTS", "").split(",")):
        path, _, number = reference.strip().rpartition("!")
        if not path or not number.isdigit():
            raise PermanentFailure(
                f"CI_OPEN_MERGE_REQUESTS has {reference!r}, which is not as in group/project!12"
            )
        # The merge request of a fork is in another project.
        own = path == variables.get("CI_PROJECT_PATH", path)
        project = Project(
            api.rstrip("/"), project_id if own else quote(path, safe=""), SecretStr(token), _REFUSAL
        )
        requests.append(MergeRequest(project, int(number)))
    return requests


def note_marker(branch: str) -> str:
    """The first line of the branch's note. It is not shown, and finds the note again."""
    return f"<!-- ruter-dagster compare {quote(branch, safe='')} -->"


def post_note(request: MergeRequest, marker: str, text: str, pause: float = 1.0) -> str:
    """Adds the note, or updates the one that begins with the marker. Returns `added` or `updated`.

    A text that is longer than GitLab accepts is cut after a line. If GitLab is busy, the request is repeated after `pause`
    seconds, then after twice as many. Raises `PermanentFailure` if GitLab refuses the note or stays busy.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(GitLabBusy),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(pause),
        reraise=True,
    )
    try:
        # Each attempt looks for the note again: an attempt without an answer may have added it.
        return attempts(_add_or_update, request, _fitted(f"{marker}\n{text}"), marker)
    except GitLabBusy as busy:
        raise PermanentFailure(f"The note was not posted: {busy}. Run the job again") from busy


def _fitted(body: str) -> str:
    """The body, cut after a line if GitLab would refuse it. A folded part that is cut is closed."""
    if len(body) <= MAX_CHARACTERS:
        return body
    kept = body[: MAX_CHARACTERS - len(_FOLD_END) - len(_CUT)].rpartition("\n")[0]
    is_open = kept.count("<details>") > kept.count("</details>")
    return kept + (_FOLD_END if is_open else "") + _CUT


def _add_or_update(request: MergeRequest, body: str, marker: str) -> str:
    notes = f"/merge_requests/{request.number}/notes"
    earlier = next((note for note in _notes(request, notes) if note["body"].startswith(marker)), None)
    if earlier is None:
        send(request.project, "POST", notes, {"body": body})
        return "added"
    send(request.project, "PUT", f"{notes}/{earlier['id']}", {"body": body})
    return "updated"


def _notes(request: MergeRequest, path: str) -> Iterator[Mapping[str, Any]]:
    """All notes of a merge request, page by page."""
    page = 1
    while True:
        notes = send(request.project, "GET", f"{path}?per_page={_PAGE}&page={page}")
        yield from notes
        if len(notes) < _PAGE:
            return
        page += 1
