"""The report on a merge request: a sandbox clones production's tables, forecasts on SageMaker's double, and posts one note."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.container import BASE_VARIABLE
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import glue_catalog
from ruter_dagster.storage.tables import TableStore
from sagemaker_double.control import Remote
from sagemaker_double.process import ROLE, aws_environment, double_process
from sagemaker_double.settings import Settings
from tests.chain.conftest import Prepared
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import run
from tests.chain.tides_days import NEW
from tests.gitlab_stub import TOKEN, GitLabStub, running_gitlab

pytestmark = [
    pytest.mark.extended,
    pytest.mark.filterwarnings("ignore:Delete operation did not match any records"),
]
REPOSITORY = Path(__file__).parents[2]
REGION = Settings.region
PROD = "s3://prod-lake/prod/tides"
LATER = 7.5
"""Mean of the forecasts that production writes during the report."""


@dataclass(frozen=True)
class Report:
    """The posted notes of two reports, and what production had before and afterwards.

    `calls`: by command, and `jobs` for SageMaker's jobs, the resources of its calls to AWS by operation.
    """

    notes: list[str]
    pinned: int
    before: dict[str, str]
    after: dict[str, str]
    jobs: list[dict[str, Any]]
    sandbox_keys: list[str]
    calls: dict[str, dict[str, list[str]]]

    def calls_to_production(self, caller: str) -> set[str]:
        operations = self.calls[caller].items()
        return {
            name for name, arns in operations if any("prod-lake" in arn or "rd_prod" in arn for arn in arns)
        }


@pytest.fixture(scope="module")
def report(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    folder = tmp_path_factory.mktemp("report")
    double_of_jobs = double_process(base_variable=BASE_VARIABLE)
    with double_of_jobs as double, running_gitlab() as gitlab, pytest.MonkeyPatch.context() as patch:
        for name in (*foreign_variables(), *(name for name in os.environ if name.startswith("AWS_"))):
            patch.delenv(name)
        for name, value in variables(folder, double, gitlab).items():
            patch.setenv(name, value)
        patch.chdir(REPOSITORY)
        for bucket in ("prod-lake", "sandbox-lake"):
            s3().create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        write_production(prepared)
        yield report_twice(double, gitlab)


def variables(folder: Path, double: Remote, gitlab: GitLabStub) -> dict[str, str]:
    """The settings of a sandbox's containers, and the variables of GitLab CI. The branch changes the occupancy thresholds."""
    operator = folder / "operator.toml"
    text = (REPOSITORY / "ruter_dagster" / "config" / "operators" / "ruter.toml").read_text()
    operator.write_text(text.replace("many_seats_free_above = 0.50", "many_seats_free_above = 0.99"))
    assert "0.99" in operator.read_text()
    return {
        **aws_environment(double.url),
        "RUTER_ENV_FILE": "",
        "RUTER_ENVIRONMENT": "s-seats-1a2b3c",
        "RUTER_GLUE_DATABASE": "rd_s_seats_1a2b3c",
        "RUTER_LAKE": "s3://sandbox-lake",
        "RUTER_STATE_DIR": str(folder / "state"),
        "RUTER_SOURCE": "tides",
        "RUTER_TIDES_PATH": str(folder / "counts"),
        "RUTER_OPERATOR": str(operator),
        "RUTER_HISTORY_START": "2025-03-03",
        "RUTER_STEP_RETRY_DELAY": "0",
        "RUTER_MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "RUTER_SAGEMAKER_IMAGE": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/jobs@sha256:{'0' * 64}",
        "RUTER_SAGEMAKER_ROLE": ROLE,
        "RUTER_SAGEMAKER_PACE": "0.05",
        "RUTER_BRANCH": "feature/seats",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "CI_API_V4_URL": gitlab.url,
        "CI_PROJECT_ID": "7",
        "CI_PROJECT_PATH": "ruter/loads",
        "CI_OPEN_MERGE_REQUESTS": "ruter/loads!12",
        "CI_COMMIT_REF_NAME": "feature/seats",
        "GITLAB_NOTE_TOKEN": TOKEN,
    }


def s3() -> Any:
    return boto3.client("s3", region_name=REGION)


def production() -> TableStore:
    return TableStore(glue_catalog(f"{PROD}/warehouse", REGION), "rd_prod")


def write_production(prepared: Prepared) -> None:
    """Copies the tables and verdicts of the prepared chain to production's lake."""
    live = prepared.root / "live"
    shutil.rmtree(live, ignore_errors=True)
    shutil.copytree(prepared.root / "kept", live)
    with prepared.open() as chain:
        for table in TABLES:
            if days := chain.store.dates(table):
                production().write(table, chain.store.read(table, days), days, code_version="1")
        local = ArtifactStore.at(prepared.settings.artifacts_location)
        remote = ArtifactStore.at(f"{PROD}/artifacts", REGION)
        remote.put_all(local.find_all(local.list("quality/verdicts/")))


def report_twice(double: Remote, gitlab: GitLabStub) -> Report:
    """The three commands of `scripts/cloud/sandbox report`, as after two pushes. Production forecasts again in between."""
    pinned = production().current_snapshot(LOAD_FORECASTS)
    assert pinned is not None
    before, notes = content("prod-lake"), []
    for number in range(2):
        command("clone", "--from", "prod", "--replace")
        command("reforecast")
        if number == 0:
            forecasts = production().read(LOAD_FORECASTS, [NEW])
            later = forecasts.with_columns(mean=forecasts["mean"] * 0 + LATER)
            production().write(LOAD_FORECASTS, later, [NEW], code_version="1")
        command("compare", "--with", "prod", "--post")
        [note] = gitlab.bodies("/projects/7/merge_requests/12")
        notes.append(note)
    after = content("prod-lake")
    return Report(
        notes, pinned, before, after, double.jobs(), sorted(content("sandbox-lake")), double.resources()
    )


def command(name: str, *arguments: str) -> None:
    """Runs a command with an access key of its own, by which the double counts its calls."""
    run("ruter-dagster", name, *arguments, AWS_ACCESS_KEY_ID=name)


def content(bucket: str) -> dict[str, str]:
    """The ETag of each object, by its key."""
    pages = s3().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", ())}


def row(note: str, first: str) -> list[str]:
    """The cells of the first table row that begins with this cell."""
    line = next(line for line in note.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_note_shows_what_the_branch_changes(report: Report) -> None:
    """The changed thresholds change levels and no mean."""
    cells = row(report.notes[0], "all")
    assert "## Forecasts of s-seats-1a2b3c compared with prod" in report.notes[0]
    assert cells[2:4] == ["0.000", "+0.000"]
    assert float(cells[4].removesuffix("%")) > 0


def test_note_names_the_pinned_snapshot_and_not_a_later_one(report: Report) -> None:
    ids = row(report.notes[0], "`forecasts.load_forecasts`")[1:]
    assert ids[1] == str(report.pinned) != ids[0]


def test_next_push_updates_the_note_with_newer_snapshots(report: Report) -> None:
    """Production's new forecasts are the other side now, and there is still one note."""
    ids = row(report.notes[1], "`forecasts.load_forecasts`")[1:]
    assert ids[1] != str(report.pinned)
    assert float(row(report.notes[1], "all")[2]) > 0


def test_note_has_the_cost_of_the_sandbox(report: Report) -> None:
    assert "- s-seats-1a2b3c: 0.0" in report.notes[0]
    assert "USD (1 job, 1 run)" in report.notes[0]


def test_forecasts_ran_in_sagemaker(report: Report) -> None:
    assert [job["status"] for job in report.jobs] == ["Completed", "Completed"]


def test_production_is_only_read(report: Report) -> None:
    """The objects that are new were written by production itself."""
    unchanged = {key: report.after.get(key) for key in report.before}
    assert unchanged == report.before
    new = report.after.keys() - report.before.keys()
    assert new and all("/forecasts_load_forecasts/" in key for key in new)


def test_runner_reads_productions_catalog(report: Report) -> None:
    """terraform/bootstrap gives these rights to the role of CI."""
    reads = {"glue.GetTable", "s3.GetObject", "s3.HeadObject", "s3.ListObjects", "s3.HeadBucket"}
    assert {"glue.GetTable", "s3.GetObject"} <= report.calls_to_production("clone") <= reads
    assert report.calls_to_production("compare") <= reads


def test_jobs_read_productions_files_and_dagster_nothing(report: Report) -> None:
    """terraform/modules/iam gives these rights to the roles of jobs. Dagster's role has none."""
    assert (
        {"s3.GetObject"}
        <= report.calls_to_production("jobs")
        <= {"s3.GetObject", "s3.HeadObject", "s3.ListObjects"}
    )
    assert report.calls_to_production("reforecast") == set()


def test_dagster_writes_what_its_role_allows(report: Report) -> None:
    written = [
        arn
        for name, arns in report.calls["reforecast"].items()
        if "Put" in name or "Post" in name
        for arn in arns
    ]
    allowed = ("/artifacts/pipes/", "/artifacts/events/", "/artifacts/reforecasts/")
    assert written and all(any(folder in arn for folder in allowed) for arn in written), written


def test_sandbox_writes_into_its_own_lake(report: Report) -> None:
    assert any("/forecasts_load_forecasts/data/" in key for key in report.sandbox_keys)
    assert not any("/stop_loads/data/" in key for key in report.sandbox_keys)
