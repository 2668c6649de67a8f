"""docs/deploy.md and docs/runbook.md say what the code says: variables of GitLab, of the stack, and alarms."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
PIPELINE = (ROOT / ".gitlab-ci.yml").read_text()
STACK = (ROOT / "terraform" / "stack" / "variables.tf").read_text()

BY_THE_PIPELINE = {"environment", "branch", "commit", "jobs_image", "orchestrator_image"}
"""Variables of the stack that scripts/cloud and the job `images` set."""


def rows(page: str) -> set[str]:
    """What the first cells of the page's tables name as code."""
    cells = re.findall(r"^\| (`[^|]*`[^|]*) \|", page, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_deploy_page_names_every_variable_that_the_pipeline_reads() -> None:
    predefined = r"CI_(?!IMAGE_TAG)\w+|GITLAB_TOKEN_FOR_AWS|AWS_\w+"
    set_by_jobs = {"DAGSTER_URL", "ENVIRONMENT", "PATH", "PWD", "SCHEDULE", "TOOLS"}
    read = {name for name in re.findall(r"\$([A-Z][A-Z_]+)", PIPELINE) if not re.fullmatch(predefined, name)}
    assert {"BUILD_IMAGE", "CI_IMAGE_TAG", "DEPLOY_ROLE_ARN"} <= read
    assert read - set_by_jobs - rows(DEPLOY) == set()


def test_deploy_page_names_every_output_for_gitlab() -> None:
    outputs = (ROOT / "terraform" / "bootstrap" / "outputs.tf").read_text()
    names = set(
        re.findall(r"^    ([A-Z]\w+) +=", outputs.split('output "gitlab_variables"')[1], re.MULTILINE)
    )
    assert "STATE_BUCKET" in names
    assert names - rows(DEPLOY) == set()


def test_deploy_page_names_every_required_variable_of_the_stack() -> None:
    blocks = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', STACK, re.MULTILINE | re.DOTALL)
    required = {name for name, body in blocks if not re.search(r"^  default ", body, re.MULTILINE)}
    files = (ROOT / "terraform" / "envs").glob("*.tfvars")
    in_all_files = set.intersection(
        *(set(re.findall(r"^(\w+) +=", file.read_text(), re.MULTILINE)) for file in files)
    )
    named = {name.removeprefix("TF_VAR_") for name in rows(DEPLOY)}
    assert {"kafka", "certificate_arn"} <= required
    assert required - in_all_files - BY_THE_PIPELINE - named == set()


def test_deploy_page_names_every_schedule() -> None:
    schedules = set(re.findall(r'\$SCHEDULE == "([\w-]+)"', PIPELINE))
    assert schedules
    assert schedules - rows(DEPLOY) == set()


def test_runbook_says_what_to_do_about_every_alarm() -> None:
    code = (ROOT / "terraform" / "modules" / "observability" / "main.tf").read_text()
    alarms = set(re.findall(r"^      ([a-z-]+) = \{$", code.split("  alarms = merge(")[1], re.MULTILINE))
    alarms |= {f"errors-{container}" for container in ("code", "daemon", "web")}
    alarms |= {f"dead-letters-{rule}" for rule in ("jobs", "arrivals")}
    section = RUNBOOK.split("## What does each alarm mean?")[1]
    headings = set(
        re.findall(r"[a-z]+-[a-z-]+|drift", " ".join(re.findall(r"^### (.*)$", section, re.MULTILINE)))
    )
    assert {"forecasts-late", "errors-code", "drift"} <= alarms
    assert alarms == headings


def test_deploy_page_protects_every_variable_of_the_environments() -> None:
    """An unprotected variable reaches each branch whose job declares the environment."""
    section = DEPLOY.split("## Which variables does GitLab need?")[1].split("\n### ")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| `[A-Z]", line)]
    scopes = {name: (scope, protected) for name, *_, scope, protected in cells}
    of_environments = {
        name: protected
        for name, (scope, protected) in scopes.items()
        if scope in ("all", "environments") or "prod" in scope
    }
    assert {"`PASSWORDS`", "`TF_VAR_login_client_secret`", "`TF_VAR_slack`"} <= set(of_environments)
    assert {name for name, protected in of_environments.items() if not protected.startswith("yes")} == set()
