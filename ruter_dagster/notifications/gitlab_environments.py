"""GitLab's environments `sandbox/*`: those of deleted branches are stopped, and stopped ones are deleted.

GitLab keeps a stopped environment for ever, and with it the refs of its deployments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.notifications.gitlab_api import GitLabBusy, Project, required, send

TOKEN_VARIABLE = "CI_JOB_TOKEN"
"""A job's own token reaches the API of environments (since GitLab 16.2), with the rights of who started the pipeline."""
FOLDER = "sandbox/"
_PAGE = 100
_REFUSAL = "GitLab refused: {}. The owner of the schedule needs a role that may stop and delete environments, such as Maintainer"


def project_of(variables: Mapping[str, str]) -> Project:
    """The project of a GitLab CI job. Raises `PermanentFailure` if a variable is missing."""
    remedy = "GitLab CI sets it"
    return Project(
        required(variables, "CI_API_V4_URL", remedy).rstrip("/"),
        required(variables, "CI_PROJECT_ID", remedy),
        SecretStr(required(variables, TOKEN_VARIABLE, remedy)),
        refusal=_REFUSAL,
        token_header="JOB-TOKEN",
    )


def delete_environments(
    project: Project, live_slugs: Collection[str], kept_slugs: Collection[str], report: Callable[[str], None]
) -> list[str]:
    """Stops the environments whose branch is gone, and deletes all that are stopped. Returns a line for each that is left.

    Args:
        project: The project in GitLab.
        live_slugs: CI_COMMIT_REF_SLUG of each branch. An available environment of one of them is kept.
        kept_slugs: Those whose environment is kept even if it is stopped.
        report: Called with the name of each deleted environment.

    Raises:
        PermanentFailure: The environments cannot be listed.
    """
    left = []
    for environment in _environments(project):
        name = environment["name"]
        slug = name.removeprefix(FOLDER)
        if slug in kept_slugs or (environment["state"] != "stopped" and slug in live_slugs):
            continue
        try:
            _delete(project, environment)
            report(f"Deleted: environment {name}")
        except (PermanentFailure, GitLabBusy) as failure:
            left.append(f"Left: environment {name}: {failure}")
    return left


def stopped_slugs(project: Project) -> set[str]:
    """CI_COMMIT_REF_SLUG of the environments that are stopped, or whose stop job has not passed.

    Raises `PermanentFailure` if the environments cannot be listed.
    """
    return {
        environment["name"].removeprefix(FOLDER)
        for environment in _environments(project)
        if environment["state"] in ("stopping", "stopped")
    }


def _delete(project: Project, environment: Mapping[str, Any]) -> None:
    address = f"/environments/{environment['id']}"
    if environment["state"] != "stopped":
        # `force`: without it, GitLab would start the job that destroys a sandbox, which is already destroyed.
        send(project, "POST", f"{address}/stop", {"force": True})
    send(project, "DELETE", address)


def _environments(project: Project) -> list[Mapping[str, Any]]:
    """All environments `sandbox/*`. Raises `PermanentFailure` if GitLab does not answer."""
    try:
        environments = [environment for page in _pages(project) for environment in page]
    except GitLabBusy as busy:
        raise PermanentFailure(f"The environments were not listed: {busy}. Run the job again") from busy
    return [environment for environment in environments if environment["name"].startswith(FOLDER)]


def _pages(project: Project) -> Iterator[list[Mapping[str, Any]]]:
    page = 1
    while environments := send(project, "GET", f"/environments?search={FOLDER}&per_page={_PAGE}&page={page}"):
        yield environments
        page += 1
