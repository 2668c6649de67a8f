"""The modules `catalog` and `bi`: Athena's views, and QuickSight's data sets and dashboard over them, from the real definitions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from ruter_dagster.dashboards.quicksight import dashboard_definition
from ruter_dagster.dashboards.views import VIEWS
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.terraform import ROOT, initialisation, terraform

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]

NAME = "rd-s-views-1a2b3c"
PREFIX = "lake/s-views-1a2b3c/demo"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0"
READ_VIEWS = '${jsondecode(file("${path.module}/views.json"))}'
PROD_FILES = {
    "Sid": "FilesOfAnotherEnvironment",
    "Effect": "Allow",
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::rd-prod-lake/*",
}
READERS = f"arn:aws:quicksight:{REGION}:{ACCOUNT}:group/default/ruter-dagster"


class Root:
    """A root that uses the two modules alone, with a state of its own."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self.environment = kept | {"AWS_ENDPOINT_URL": endpoint, "TF_CLI_CONFIG_FILE": os.devnull}
        provider = {"region": REGION, "access_key": "test", "secret_key": "test", "max_retries": 1}
        provider |= {
            "skip_metadata_api_check": "true",
            "default_tags": {"tags": {"environment": "s-views-1a2b3c"}},
        }
        modules = {"catalog": self._catalog(), "bi": self._bi()}
        url = {"value": "${module.bi.dashboard_url}"}
        (folder / "main.tf.json").write_text(
            json.dumps({"provider": {"aws": provider}, "module": modules, "output": {"url": url}})
        )
        self.run("init", "-input=false", *initialisation())

    def _catalog(self) -> dict[str, Any]:
        views = {name: view.to_json() for name, view in VIEWS.items()}
        (self.folder / "views.json").write_text(json.dumps(views))
        return {
            "source": str(ROOT / "modules" / "catalog"),
            "name": NAME,
            "lake_bucket": f"{NAME}-lake",
            "lake_prefix": PREFIX,
            "kms_key_arn": KEY,
            "query_limit_gb": 1,
            "views": READ_VIEWS,
        }

    def _bi(self) -> dict[str, Any]:
        self.write_definition(dashboard_definition())
        return {
            "source": str(ROOT / "modules" / "bi"),
            "name": NAME,
            "workgroup": "${module.catalog.workgroup}",
            "database": "${module.catalog.database_of_views}",
            "lake_arn": f"arn:aws:s3:::{NAME}-lake",
            "lake_prefix": PREFIX,
            "kms_key_arn": KEY,
            "readable_policy": json.dumps({"Version": "2012-10-17", "Statement": [PROD_FILES]}),
            "permissions_boundary": None,
            "readers_arn": READERS,
            "spice": True,
            "views": READ_VIEWS,
            "definition": '${file("${path.module}/dashboard.json")}',
        }

    def write_definition(self, definition: dict[str, Any]) -> None:
        (self.folder / "dashboard.json").write_text(json.dumps(definition))

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [terraform(), *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode in codes, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def changes(self) -> str:
        """What a second plan would change; empty if nothing."""
        output = self.run("plan", "-input=false", "-no-color", "-detailed-exitcode", codes=(0, 2))
        return "" if "No changes." in output else output


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, aws_endpoint: str) -> Iterator[Root]:
    """The modules, applied once for all tests."""
    made = Root(tmp_path_factory.mktemp("bi"), aws_endpoint)
    made.run("apply", "-auto-approve", "-input=false", "-no-color")
    yield made


@pytest.fixture(scope="module")
def quicksight(aws_endpoint: str) -> Any:
    return _client("quicksight", aws_endpoint)


def _client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def test_second_plan_is_empty(root: Root) -> None:
    assert root.changes() == ""


def test_data_sets_have_the_columns_of_their_views(root: Root, quicksight: Any) -> None:
    for name, view in VIEWS.items():
        data_set = quicksight.describe_data_set(AwsAccountId=ACCOUNT, DataSetId=f"{NAME}-{name}")["DataSet"]
        table = data_set["PhysicalTableMap"]["view"]["RelationalTable"]
        assert (table["Schema"], table["Name"]) == (NAME.replace("-", "_"), name)
        assert [column["Name"] for column in table["InputColumns"]] == list(view.columns)
        assert data_set["ImportMode"] == view.import_mode


def test_data_source_queries_with_the_role_of_the_environment(
    root: Root, quicksight: Any, aws_endpoint: str
) -> None:
    source = quicksight.describe_data_source(AwsAccountId=ACCOUNT, DataSourceId=NAME)["DataSource"]
    athena = source["DataSourceParameters"]["AthenaParameters"]
    role = _client("iam", aws_endpoint).get_role(RoleName=f"{NAME}-quicksight")["Role"]
    assert athena == {"WorkGroup": NAME, "RoleArn": role["Arn"]}


def test_role_reads_the_lake_and_the_files_that_clones_refer_to(root: Root, aws_endpoint: str) -> None:
    iam = _client("iam", aws_endpoint)
    policy = iam.get_role_policy(RoleName=f"{NAME}-quicksight", PolicyName="read-views")["PolicyDocument"]
    statements = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert statements["FilesOfAnotherEnvironment"]["Resource"] == PROD_FILES["Resource"]
    assert statements["Rows"]["Resource"] == f"arn:aws:s3:::{NAME}-lake/{PREFIX}/warehouse/*"
    assert statements["Keys"]["Resource"] == KEY
    written = [sid for sid, item in statements.items() if "s3:PutObject" in item["Action"]]
    assert written == ["Results"]


def test_copies_are_refreshed_every_day(root: Root, quicksight: Any) -> None:
    for name, view in VIEWS.items():
        listed = quicksight.list_refresh_schedules(AwsAccountId=ACCOUNT, DataSetId=f"{NAME}-{name}")[
            "RefreshSchedules"
        ]
        times = [schedule["ScheduleFrequency"]["TimeOfTheDay"] for schedule in listed]
        assert times == (["07:00"] if view.import_mode == "SPICE" else [])


def test_dashboard_is_in_the_folder_that_readers_see(root: Root, quicksight: Any) -> None:
    members = quicksight.list_folder_members(AwsAccountId=ACCOUNT, FolderId=NAME)["FolderMemberList"]
    assert [member["MemberId"] for member in members] == [f"{NAME}-forecasts"]
    permissions = quicksight.describe_dashboard_permissions(
        AwsAccountId=ACCOUNT, DashboardId=f"{NAME}-forecasts"
    )
    assert [item["Principal"] for item in permissions["Permissions"]] == [READERS]
    assert json.loads(root.run("output", "-json", "url")).endswith(f"/dashboards/{NAME}-forecasts")


def test_changed_definition_updates_analysis_and_dashboard(root: Root, quicksight: Any) -> None:
    changed = dashboard_definition()
    changed["Sheets"][0]["Name"] = "The whole network"
    root.write_definition(changed)
    assert "module.bi.aws_cloudformation_stack.pages" in root.changes()
    root.run("apply", "-auto-approve", "-input=false")
    for describe, own in (
        (quicksight.describe_dashboard_definition, "DashboardId"),
        (quicksight.describe_analysis_definition, "AnalysisId"),
    ):
        definition = describe(AwsAccountId=ACCOUNT, **{own: f"{NAME}-forecasts"})["Definition"]
        assert definition["Sheets"][0]["Name"] == "The whole network"
        assert {item["Identifier"] for item in definition["DataSetIdentifierDeclarations"]} == set(VIEWS)
    assert root.changes() == ""


def test_destroy_leaves_nothing(root: Root, quicksight: Any, aws_endpoint: str) -> None:
    # The server refuses to delete what others use, so the order is tested too. Other tests have environments on it.
    root.run("destroy", "-auto-approve", "-input=false")
    lists = {
        "data_sources": "DataSources", "data_sets": "DataSetSummaries", "analyses": "AnalysisSummaryList",
        "dashboards": "DashboardSummaryList", "folders": "FolderSummaryList",
    }  # fmt: skip
    left = [
        item
        for kind, field in lists.items()
        for item in getattr(quicksight, f"list_{kind}")(AwsAccountId=ACCOUNT)[field]
        if f"/{NAME}" in item["Arn"]
    ]
    stacks = _client("cloudformation", aws_endpoint).describe_stacks()["Stacks"]
    assert left == []
    assert [stack for stack in stacks if stack["StackName"].startswith(NAME)] == []


def test_template_stays_below_the_limit_of_cloudformation() -> None:
    declarations, permissions = 1_000, 2_000
    assert (
        len(json.dumps(dashboard_definition(), separators=(",", ":"))) + declarations + permissions < 51_200
    )
