"""The four environments and sandboxes: equal resources, protection of prod, isolation of sandboxes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.terraform.terraform import Workspace, addresses

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]
Make = Callable[..., Workspace]


def test_the_four_environments_have_the_same_resources(workspace: Make) -> None:
    plans = {
        environment: addresses(workspace(environment).plan())
        for environment in ("dev", "test", "stage", "prod")
    }
    guard = {"terraform_data.guard[0]"}
    assert plans["dev"] == plans["test"] == plans["stage"] - guard == plans["prod"] - guard
    assert guard <= plans["prod"]


def test_a_sandbox_is_applied_planned_again_without_changes_and_destroyed(workspace: Make) -> None:
    first, second = workspace("s-first-1a2b3c"), workspace("s-second-4d5e6f")
    first.apply()
    second.apply()
    assert first.changes() == []
    first.destroy()
    assert second.changes() == []
    second.destroy()


@pytest.mark.parametrize("attempt", [(), ("-target=module.storage",), ("-var=protected=false",)])
def test_prod_cannot_be_destroyed(workspace: Make, attempt: tuple[str, ...]) -> None:
    prod = workspace("prod")
    prod.run(*prod.with_values("apply", "-auto-approve", "-target=terraform_data.guard"))
    refused = prod.destroy(*attempt, check=False)
    assert refused.returncode != 0
    assert "terraform_data.guard" in refused.stderr
