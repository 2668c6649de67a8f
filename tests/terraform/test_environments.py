"""The stack against the server of `moto_shim.py`: two sandboxes and prod, applied side by side in one account.

One sandbox has every switch on and is destroyed; the other has the values of `sandbox.tfvars`. Their branches differ in
the last letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import pytest

from tests.terraform.inventory import client, inventory, of_environment, types_without_kind
from tests.terraform.moto_shim import ACCOUNT, REGION
from tests.terraform.sandbox_ids import sandbox_id
from tests.terraform.terraform import Workspace, addresses

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("environments")]
Make = Callable[..., Workspace]
Inventory = dict[str, set[str]]
T = TypeVar("T")

READERS = {"readers_arn": f"arn:aws:quicksight:{REGION}:{ACCOUNT}:group/default/ruter-dagster"}
ALL_SWITCHES = {
    "quicksight": READERS,
    "interface_endpoints": ["sqs", "sts"],
    "create_mlflow": True,
    "studio": True,
    "feature_group": True,
    "endpoint": {
        "image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/rd-jobs:1",
        "model_data_url": "s3://models/champion.tar.gz",
        "instance_type": "ml.m5.large",
    },
    "allowed_cidrs": ["192.0.2.0/24"],
    "login": {
        "issuer": "https://login.example.org",
        "authorization_endpoint": "https://login.example.org/authorize",
        "token_endpoint": "https://login.example.org/token",
        "user_info_endpoint": "https://login.example.org/userinfo",
        "client_id": "ruter-dagster",
    },
    "login_client_secret": "secret",
    "warehouse": {"database": "counts", "bucket": "counts-bucket", "prefix": "counts/"},
    "readable_environment": {"name": "prod", "buckets": ["rd-prod-lake"]},
    "permissions_boundary": f"arn:aws:iam::{ACCOUNT}:policy/rd-sandbox-boundary",
}


@dataclass
class Account:
    """The workspaces after their applies, and the resources of the account before and after."""

    endpoint: str
    destroyed: Workspace
    kept: Workspace
    prod: Workspace
    before: Inventory
    applied: Inventory

    def owned(self, workspace: Workspace) -> Inventory:
        """What exists now of an environment."""
        return of_environment(inventory(self.endpoint), workspace.environment)


@pytest.fixture(scope="module")
def account(workspace: Make, aws_endpoint: str) -> Iterator[Account]:
    zone = client(aws_endpoint, "route53").create_hosted_zone(Name="example.org", CallerReference="1")
    domain = {"name": "*.example.org", "zone_id": zone["HostedZone"]["Id"].rsplit("/", 1)[-1]}
    before = inventory(aws_endpoint)
    workspaces = (
        workspace(sandbox_id("feature/Økt-kapasitet-linje-31"), **ALL_SWITCHES, domain=domain),
        workspace(sandbox_id("feature/Økt-kapasitet-linje-37")),
        workspace("prod", quicksight=READERS),
    )
    _together(Workspace.apply, *workspaces)
    yield Account(aws_endpoint, *workspaces, before, inventory(aws_endpoint))


def _together(run: Callable[[Workspace], T], *workspaces: Workspace) -> list[T]:
    """One command for up to three environments at once. Most of an apply is waiting."""
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(run, workspaces))


def test_second_plan_is_empty(account: Account) -> None:
    changes = _together(Workspace.changes, account.destroyed, account.kept, account.prod)
    assert changes == [[], [], []]


def test_nothing_in_a_network_lacks_its_tag(account: Account) -> None:
    """AWS makes an access list, a route table and a security group with each network. What has no tag, others could tag."""
    untagged = {
        item
        for kind in ("network_acls", "route_tables", "security_groups")
        for item in account.applied[f"ec2.describe_{kind}"] - account.before[f"ec2.describe_{kind}"]
        if '"Key": "environment"' not in item
    }
    assert untagged == set()


def test_environments_share_no_resource(account: Account) -> None:
    workspaces = (account.destroyed, account.kept, account.prod)
    owned = [of_environment(account.applied, workspace.environment) for workspace in workspaces]
    for first, second in combinations(owned, 2):
        assert {
            kind: items & second[kind] for kind, items in first.items() if items & second.get(kind, set())
        } == {}


def test_inventory_lists_every_type_of_the_stack(account: Account) -> None:
    types = {resource["type"] for resource in account.destroyed.resources()}
    assert types_without_kind(types) == set()
    empty = {kind for kind, items in account.applied.items() if items == account.before[kind]}
    assert empty == {"iam.list_policies"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("destroy",),
        ("destroy", "-var=protected=false"),
        ("destroy", "-target=module.storage"),
        ("destroy", "-target=module.dagster.aws_ecs_service.this"),
        ("destroy", "-target=module.catalog"),
        ("destroy", "-target=module.observability"),
    ],
    ids=" ".join,
)
def test_prod_cannot_be_destroyed(account: Account, arguments: tuple[str, ...]) -> None:
    refused = account.prod.run(
        *account.prod.with_values(*arguments, "-auto-approve", "-refresh=false"), check=False
    )
    assert refused.returncode != 0
    assert "Instance cannot be destroyed" in refused.stderr
    assert "terraform_data.guard" in refused.stderr


def test_protection_of_prod_cannot_be_switched_off(account: Account) -> None:
    arguments = ("apply", "-var=protected=false", "-auto-approve", "-refresh=false")
    refused = account.prod.run(*account.prod.with_values(*arguments), check=False)
    assert refused.returncode != 0
    assert "prod must have protected = true." in refused.stderr


def test_destroyed_sandbox_leaves_nothing_and_touches_nothing(account: Account) -> None:
    others = [_counts(account.owned(workspace)) for workspace in (account.kept, account.prod)]
    names = [account.destroyed.environment, *_ids(account.destroyed)]
    account.destroyed.destroy()
    remaining = inventory(account.endpoint)
    assert [of_environment(remaining, name) for name in names] == [{}, {}, {}]
    assert [_counts(account.owned(workspace)) for workspace in (account.kept, account.prod)] == others
    assert _together(Workspace.changes, account.kept, account.prod) == [[], []]


def _ids(workspace: Workspace) -> list[str]:
    """Ids of the VPC and of the namespace: what AWS makes within them has no name or tag of the environment."""
    types = ("aws_vpc", "aws_service_discovery_private_dns_namespace")
    return [resource["values"]["id"] for resource in workspace.resources() if resource["type"] in types]


def _counts(resources: Inventory) -> dict[str, int]:
    return {kind: len(items) for kind, items in resources.items()}


def test_the_four_environments_have_the_same_resources(workspace: Make) -> None:
    environments = [workspace(f"{name}") for name in ("dev", "test", "stage", "prod")]
    dev, test, stage, prod = map(addresses, _together(Workspace.plan, *environments))
    guard = {"terraform_data.guard[0]"}
    assert dev == test == stage - guard == prod - guard
    assert guard <= prod
