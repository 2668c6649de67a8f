"""The same chain with every job a SageMaker job, tables in Glue's catalog and files on S3: the demo on the double of AWS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.commands.local_aws import CALLS
from ruter_dagster.orchestration.instance import open_instance
from tests.chain.local_chain import foreign_variables
from tests.chain.small_demo import DATED, UNDATED, SmallDemo, environment, run

pytestmark = pytest.mark.extended
REPOSITORY = Path(__file__).parents[2]
JOB_METADATA = {"job_arn", "console", "studio", "logs", "image_digest", "instance_type"}
"""Metadata of every date about the job that wrote it."""
JOB_COSTS = {"start_seconds", "run_seconds", "estimated_cost"}
"""Metadata of every job. A range states them once, as totals of its last date."""

PERMISSIONS = {
    "s3.HeadObject": "s3:GetObject",
    "s3.PostObject": "s3:PutObject",  # the parts of a large object
    "s3.PostBucket": "s3:DeleteObject",  # many at once
    "s3.ListObjects": "s3:ListBucket",
    "s3.HeadBucket": "s3:ListBucket",
}
"""What a call needs that is not named as the call."""
OF_THE_DEMO_ITSELF = {"s3:PutBucket"}


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDemo]:
    state = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*foreign_variables(), *(name for name in os.environ if name.startswith("AWS_"))):
            patch.delenv(name)
        for name, value in (environment(state) | {"RUTER_ENVIRONMENT": "local"}).items():
            patch.setenv(name, value)
        patch.chdir(REPOSITORY)
        printed = run("ruter-dagster", "demo", "--on", "sagemaker-double", "--json")
        patch.setenv("RUTER_STATE_DIR", str(state / "on-sagemaker-double"))
        with open_instance() as instance:
            yield SmallDemo(instance, json.loads(printed[printed.index("\n{") :]))


def test_chain_has_the_same_results_as_on_a_laptop(small_demo: SmallDemo) -> None:
    rows = {row["asset"]: row["rows"] for row in small_demo.first["assets"]}
    assert set(rows) == {*DATED, *UNDATED}
    assert all(rows[asset] > 0 for asset in DATED)
    assert small_demo.first["exactly_once"]
    assert (
        small_demo.first["published"]
        == small_demo.first["read_back"]
        == rows["forecasts/load_forecasts"]
        > 10_000
    )
    assert all(row["improvement"] > 0 for row in small_demo.first["accuracy"])


@pytest.mark.parametrize("asset", [*DATED, *UNDATED])
def test_materialisation_has_metadata_of_its_job(small_demo: SmallDemo, asset: str) -> None:
    _, made = small_demo.newest(asset, DATED.get(asset))
    metadata = _job_metadata({name: value.value for name, value in made.metadata.items()})
    kind = "training" if asset in ("models/load_model", "models/refitted_model") else "processing"
    name = f"{kind}-job/rd-local-{asset.replace('/', '-').replace('_', '-')[:20]}"
    assert set(metadata) >= JOB_METADATA
    assert metadata["job_arn"].split(":")[5].startswith(name)


@pytest.mark.parametrize("asset", [*DATED, *UNDATED])
def test_materialisation_has_the_costs_of_its_job(small_demo: SmallDemo, asset: str) -> None:
    _, made = small_demo.newest(asset)
    metadata: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
    costs = _job_metadata(metadata | metadata.get("range_totals", {}))
    assert set(costs) >= JOB_COSTS
    assert costs["run_seconds"] > 0


def _job_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("sagemaker/"): value for name, value in metadata.items()}


def test_job_output_is_in_the_lake(small_demo: SmallDemo) -> None:
    """What is left here is Dagster's history, and where the state was made."""
    assert {path.name for path in small_demo.settings.source_dir.iterdir()} == {
        "instance", "location.json", "logs",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("caller", "role"), [("demo", "orchestrator-role"), ("container", "job-role")], ids=["Dagster", "jobs"]
)
def test_example_roles_allow_every_call_of_the_chain(small_demo: SmallDemo, caller: str, role: str) -> None:
    made: dict[str, dict[str, int]] = json.loads((small_demo.settings.state_dir / CALLS).read_text())[
        "callers"
    ]
    needed = {PERMISSIONS.get(operation, operation.replace(".", ":")) for operation in made[caller]}
    statements = json.loads((REPOSITORY / "examples" / "aws" / f"{role}.json").read_text())["Statement"]
    allowed = {
        action
        for statement in statements
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert needed, "no call was counted"
    assert needed - allowed - OF_THE_DEMO_ITSELF == set()
