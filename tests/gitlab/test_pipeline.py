"""Which jobs run when, what each one may do, and that what they name exists. gitlab-ci-local reads .gitlab-ci.yml."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.gitlab.pipeline import ROOT, Pipeline

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("gitlab")]

TESTS = {"test", "test-all", "test-dagster-sagemaker", "test-sagemaker-double", "smoke"}
CHECKS = {"check", "docs", "terraform", "security", "audit", "definitions", *TESTS}
ENVIRONMENTS = ("dev", "test", "stage", "prod")
SANDBOX = {"sandbox-up", "sandbox-smoke", "merge-request-report", "sandbox-down"}
DEPLOYMENT = {f"{verb}-{environment}" for verb in ("plan", "apply") for environment in ENVIRONMENTS}
DRIFT = {f"drift: [{environment}]" for environment in ENVIRONMENTS}
ROLES = {
    "SANDBOX_ROLE_ARN": {"images", "reap", *SANDBOX},
    "PLAN_ROLE_ARN": {"drift", *(name for name in DEPLOYMENT if name.startswith("plan"))},
    "DEPLOY_ROLE_ARN": {name for name in DEPLOYMENT if name.startswith("apply")},
}


@pytest.fixture(scope="module")
def jobs(branch: Pipeline) -> dict[str, dict[str, Any]]:
    """All jobs of the file, as GitLab sees them."""
    keywords = {"stages", "variables", "default", "workflow", "include", "cache", "image"}
    expanded = branch.expanded()
    return {name: job for name, job in expanded.items() if name not in keywords and not name.startswith(".")}


def test_file_follows_the_schema_of_gitlab() -> None:
    command = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", ".gitlab-ci.yml"]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *command], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout


def test_a_branch_is_checked_and_gets_a_sandbox(branch: Pipeline) -> None:
    assert set(branch.jobs()) == CHECKS | SANDBOX | {"images"}


def test_the_default_branch_is_checked_and_deployed(main: Pipeline) -> None:
    assert set(main.jobs(protected=True)) == CHECKS | DEPLOYMENT | {"images"}


def test_an_unprotected_default_branch_is_not_deployed(main: Pipeline) -> None:
    assert set(main.jobs(protected=False)) == CHECKS | {"images"}


def test_a_protected_branch_other_than_the_default_one_is_not_deployed(branch: Pipeline) -> None:
    assert set(branch.jobs(protected=True)) & DEPLOYMENT == set()


def test_prod_alone_waits_for_a_click(main: Pipeline) -> None:
    waiting = {name for name, job in main.jobs(protected=True).items() if job["when"] == "manual"}
    assert waiting == {"apply-prod"}


def test_a_tag_has_no_jobs(main: Pipeline) -> None:
    assert main.jobs(tag="v1.0", protected=True) == {}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("reap", {"reap"}), ("drift", DRIFT), ("newest-dagster", {"newest-dagster"}), ("", set())],
)
def test_each_schedule_has_its_own_jobs(main: Pipeline, schedule: str, expected: set[str]) -> None:
    assert set(main.jobs("schedule", protected=True, SCHEDULE=schedule)) == expected


@pytest.mark.parametrize(
    ("source", "tag", "exists"),
    [
        ("push", None, True),
        ("web", None, True),
        ("schedule", None, True),
        ("merge_request_event", None, False),
        ("push", "v1.0", False),
    ],
)
def test_pipelines_exist_for_pushes_schedules_and_by_hand(
    branch: Pipeline, source: str, tag: str | None, exists: bool
) -> None:
    """gitlab-ci-local lists jobs whatever `workflow` says, so its rules become those of a job."""
    rules = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())["workflow"]["rules"]
    file = {"pipeline": {"script": ["true"], "rules": rules}}
    (branch.folder / "workflow.yml").write_text(yaml.safe_dump(file))
    assert ("pipeline" in branch.jobs(source, tag=tag, file="workflow.yml")) == exists


def test_the_stop_job_follows_the_deploy_job(jobs: dict[str, Any]) -> None:
    """GitLab stops the environment of a deleted branch only if rules, stage and resource group are the same."""
    up, down = jobs["sandbox-up"], jobs["sandbox-down"]
    assert up["environment"]["on_stop"] == "sandbox-down"
    assert down["environment"] == {"name": up["environment"]["name"], "action": "stop"}
    assert [rule["if"] for rule in down["rules"]] == [rule["if"] for rule in up["rules"]]
    assert all(rule["when"] == "manual" and rule["allow_failure"] for rule in down["rules"])
    assert (down["stage"], down["resource_group"]) == (up["stage"], up["resource_group"])


def test_the_stop_job_needs_no_checkout(jobs: dict[str, Any]) -> None:
    down = jobs["sandbox-down"]
    assert down["variables"]["GIT_STRATEGY"] == "none"
    assert down["needs"] == []
    assert all(line.startswith("$TOOLS/") for line in down["script"])


def test_every_job_with_a_role_has_a_token_of_its_own(jobs: dict[str, Any]) -> None:
    for role, expected in ROLES.items():
        have = {
            name for name, job in jobs.items() if job.get("variables", {}).get("AWS_ROLE_ARN") == f"${role}"
        }
        assert have == expected
    for name, job in jobs.items():
        assert ("id_tokens" in job) == any(name in names for names in ROLES.values()), name


def test_every_job_that_calls_aws_has_a_role(jobs: dict[str, Any]) -> None:
    calling = {name for name, job in jobs.items() if any("scripts/cloud/" in line for line in job["script"])}
    assert calling == set().union(*ROLES.values())


def test_no_key_of_aws_is_named() -> None:
    named = r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)"
    files = [ROOT / ".gitlab-ci.yml", *(ROOT / "scripts" / "cloud").iterdir()]
    assert [file.name for file in files if file.is_file() and re.search(named, file.read_text())] == []


def test_jobs_that_change_aws_are_not_interrupted(jobs: dict[str, Any]) -> None:
    interrupted = {name for name, job in jobs.items() if "id_tokens" in job and job["interruptible"]}
    assert interrupted == {"images"}


def test_jobs_of_one_environment_wait_for_each_other(jobs: dict[str, Any]) -> None:
    for name in DEPLOYMENT:
        environment = name.split("-")[1]
        assert jobs[name]["variables"]["ENVIRONMENT"] == environment
        assert jobs[name]["resource_group"] == "$ENVIRONMENT"


def test_jobs_that_use_a_sandbox_wait_for_each_other(jobs: dict[str, Any]) -> None:
    for name in SANDBOX:
        assert jobs[name]["resource_group"] == "sandbox/$CI_COMMIT_REF_SLUG", name
    assert jobs["reap"]["resource_group"] == "reap"


def test_long_jobs_have_a_timeout_of_their_own(jobs: dict[str, Any]) -> None:
    """GitLab's own ends a job after an hour."""
    expected = {"sandbox-smoke": "90 minutes", "merge-request-report": "2 hours", "reap": "3 hours"}
    expected |= {f"apply-{environment}": "2 hours" for environment in ENVIRONMENTS}
    assert {name: jobs[name].get("timeout") for name in expected} == expected


def test_nobody_can_download_a_saved_plan(jobs: dict[str, Any]) -> None:
    for environment in ENVIRONMENTS:
        assert jobs[f"plan-{environment}"]["artifacts"]["access"] == "none"


def needed_jobs(listed: dict[str, Any], name: str) -> set[str]:
    """The jobs that must have passed before a job starts."""
    needed, todo = set(), [name]
    while todo:
        new = {need["job"] for need in listed[todo.pop()].get("needs") or []} - needed
        needed |= new
        todo += new
    return needed


def test_a_sandbox_does_not_wait_for_the_tests(branch: Pipeline) -> None:
    listed = branch.jobs()
    assert listed["images"]["needs"] == []
    assert needed_jobs(listed, "merge-request-report") & TESTS == set()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_is_applied_before_every_check_passed(main: Pipeline, environment: str) -> None:
    needed = needed_jobs(main.jobs(protected=True), f"apply-{environment}")
    assert needed >= {*CHECKS, "images"} - {"docs", "audit"}
    earlier = ENVIRONMENTS[: ENVIRONMENTS.index(environment)]
    assert {f"apply-{name}" for name in earlier} <= needed


def test_every_need_is_a_job_of_the_same_pipeline(branch: Pipeline, main: Pipeline) -> None:
    for pipeline, protected in ((branch, False), (main, True)):
        listed = pipeline.jobs(protected=protected)
        for name, job in listed.items():
            assert {need["job"] for need in job.get("needs") or []} <= set(listed), name


def test_an_apply_gets_the_definitions_that_its_plan_read(jobs: dict[str, Any]) -> None:
    for name in DEPLOYMENT:
        assert "definitions" in {need["job"] for need in jobs[name]["needs"]}, name


def test_every_script_and_target_that_a_job_names_exists(jobs: dict[str, Any]) -> None:
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line for job in jobs.values() for line in (*job["script"], *job.get("before_script", []))]
    scripts = {name for line in lines for name in re.findall(r"(?<![\w.])scripts/[\w./-]+", line)}
    made = {target for line in lines for target in re.findall(r"^make (\S+)", line)}
    assert {"scripts/cloud/sandbox", "scripts/audit"} <= scripts
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    assert made <= targets
