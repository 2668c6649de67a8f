"""Alarms and the dashboard of CloudWatch, as Terraform renders them, read the metrics that the code declares, and all of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS
from ruter_dagster.contracts.metrics import ASSET, ENVIRONMENT, METRICS, NAMESPACE
from ruter_dagster.definitions import build_assets
from tests.terraform.terraform import ROOT, copy_terraform, initialisation, terraform

pytestmark = pytest.mark.extended
NAME = "rd-example"
SEARCH = re.compile(r"SEARCH\('\{(?P<schema>[^}]+)\} MetricName=\"(?P<name>\w+)\" Environment=\"(?P<environment>[^\"]+)\"', '(?P<statistic>\w+)', \d+\)")  # fmt: skip


class Reading(NamedTuple):
    """A metric that an alarm or a widget reads: its name, the names of its dimensions, and the statistic."""

    name: str
    dimensions: tuple[str, ...]
    statistic: str


PROVIDER = """
  region                      = "eu-north-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
"""
MODULE = f"""
provider "aws" {{{PROVIDER}}}

provider "aws" {{
  alias = "chat"
{PROVIDER}}}

module "observability" {{
  source    = "../modules/observability"
  providers = {{ aws = aws, aws.chat = aws.chat }}

  name                 = "{NAME}"
  environment          = "example"
  kms_key_arn          = "arn:aws:kms:eu-north-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
  log_groups           = {{ code = "/rd/code", web = "/rd/web", daemon = "/rd/daemon", run = "/rd/run" }}
  cluster              = "rd-example"
  database             = "rd-example"
  load_balancer        = "app/rd-example/0123"
  target_group         = "targetgroup/rd-example/0123"
  queues               = ["rd-example-jobs"]
  dead_letter_queues   = {{ jobs = "rd-example-jobs-dead" }}
  alarm_emails         = []
  slack                = null
  budget_usd           = 100
  permissions_boundary = null
}}
"""
TEST = """
override_data {
  target = module.observability.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

run "plan" {
  command = plan
}
"""


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The resources that Terraform plans for the module alone. `terraform test` calls no AWS for it."""
    folder = tmp_path_factory.mktemp("observability")
    copy_terraform(folder)
    root = folder / "root"
    root.mkdir()
    (root / "main.tf").write_text(MODULE)
    (root / "plan.tftest.hcl").write_text(TEST)
    _run(root, "init", "-input=false", *initialisation())
    lines = map(json.loads, _run(root, "test", "-json", "-verbose").splitlines())
    plan = next(line["test_plan"] for line in lines if line["type"] == "test_plan")
    shutil.rmtree(folder)
    return [change for change in plan["resource_changes"] if change["mode"] == "managed"]


def _run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [terraform(), *arguments], cwd=folder, text=True, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def planned(resources: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [resource["change"]["after"] for resource in resources if resource["type"] == kind]


def alarms(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The alarms on the code's own metrics."""
    return [a for a in planned(resources, "aws_cloudwatch_metric_alarm") if a["namespace"] == NAMESPACE]


def charted(resources: list[dict[str, Any]]) -> Iterator[Reading]:
    """The code's own metrics on the dashboard."""
    (dashboard,) = planned(resources, "aws_cloudwatch_dashboard")
    for widget in json.loads(dashboard["dashboard_body"])["widgets"]:
        properties = widget["properties"]
        for metric in properties["metrics"]:
            if isinstance(metric[0], dict):
                match = SEARCH.fullmatch(metric[0]["expression"])
                assert match, metric
                namespace, *dimensions = match["schema"].split(",")
                assert (namespace, match["environment"]) == (NAMESPACE, NAME)
                yield Reading(match["name"], tuple(dimensions), match["statistic"])
            elif metric[0] == NAMESPACE:
                assert metric[3] == NAME
                yield Reading(metric[1], (metric[2],), properties["stat"])


def declared() -> set[Reading]:
    return {
        Reading(metric.name, dimensions, metric.statistic)
        for metric in METRICS
        for dimensions in metric.dimensions
    }


def test_dashboard_has_exactly_the_declared_metrics(resources: list[dict[str, Any]]) -> None:
    readings = list(charted(resources))
    known = {(reading.name, reading.dimensions) for reading in declared()}
    assert {(reading.name, reading.dimensions) for reading in readings} == known
    assert len(readings) == len(known), "each metric is on one widget"


def test_widgets_use_the_declared_statistic(resources: list[dict[str, Any]]) -> None:
    assert set(charted(resources)) == declared()


def test_alarms_read_declared_metrics(resources: list[dict[str, Any]]) -> None:
    readings = {
        Reading(a["metric_name"], tuple(sorted(a["dimensions"], reverse=True)), a["statistic"])
        for a in alarms(resources)
    }
    assert readings <= declared()
    names = {reading.name for reading in readings}
    assert names == {"RunFailures", "DriftAlarms", "Publications", "Freshness", "Lag", "Skill"}


def test_alarms_name_this_environment_and_existing_assets(resources: list[dict[str, Any]]) -> None:
    assets = {asset.key for asset in build_assets(load_settings(_env_file=None))}
    for alarm in alarms(resources):
        assert alarm["dimensions"][ENVIRONMENT] == NAME
        assert alarm["dimensions"].get(ASSET, PUBLISHED_FORECASTS) in assets


def test_daily_forecast_raises_no_alarm_of_age(resources: list[dict[str, Any]]) -> None:
    """Published at 04:30 each day, the newest issue date is at most 28.5 hours old; counts of yesterday too."""
    usual = 28.5 * 3600
    ages = [alarm for alarm in alarms(resources) if alarm["metric_name"] == "Freshness"]
    assert len(ages) == 2
    assert all(usual < alarm["threshold"] < usual + 24 * 3600 for alarm in ages)
    assert all(alarm["comparison_operator"] == "GreaterThanOrEqualToThreshold" for alarm in ages)


def test_containers_and_jobs_name_the_environment_of_alarms() -> None:
    """The daemon's containers get the variable from Terraform, and jobs from Dagster's process."""
    container = (ROOT / "modules" / "dagster" / "main.tf").read_text()
    assert re.search(r"RUTER_METRICS_ENVIRONMENT = var\.name\n", container)
    lake = {"lake": "s3://bucket/lake", "mlflow_tracking_uri": "none", "AWS_REGION": "eu-north-1"}
    settings = load_settings(_env_file=None, metrics_environment=NAME, emf_endpoint="tcp://agent", **lake)
    remote = settings.to_remote_environment()
    assert remote["RUTER_METRICS_ENVIRONMENT"] == NAME
    assert "RUTER_EMF_ENDPOINT" not in remote, "CloudWatch reads the standard output of jobs in SageMaker"
