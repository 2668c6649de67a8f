"""Runs Terraform in a copy of `terraform/`, against the server of `moto_shim.py`."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2] / "terraform"
DOWNLOADS = ROOT / ".terraform-plugins"
"""Where Terraform keeps the provider that the registry served, so that one download serves all workspaces."""
MIRRORS = ("/opt", "/usr/local/share", "/usr/share", str(Path.home()))
OVERRIDE = """
terraform {
  backend "local" {}
}

provider "aws" {
  region                      = var.region
  access_key                  = "test"
  secret_key                  = "test"
  s3_use_path_style           = true
  max_retries                 = 3
  skip_metadata_api_check     = true
  skip_credentials_validation = true

  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias                       = "chat"
  region                      = var.chat_region
  access_key                  = "test"
  secret_key                  = "test"
  s3_use_path_style           = true
  max_retries                 = 3
  skip_metadata_api_check     = true
  skip_credentials_validation = true

  default_tags {
    tags = local.tags
  }
}
"""


def copy_terraform(folder: Path, source: Path = ROOT) -> None:
    """Copies `terraform/` without states, plugins, rendered definitions, and the values and backend of an account that a project may commit."""
    names = (".terraform*", "*.tfstate*", "rendered", "backend_override.tf", "*.auto.tfvars")
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*names), dirs_exist_ok=True)


@cache
def terraform() -> str:
    """The command. Fails the test, and says what to install, if there is none."""
    path = shutil.which("terraform")
    if path is None:
        pytest.fail(
            "Terraform is missing: these tests need Terraform 1.11 (https://developer.hashicorp.com/terraform/install)"
        )
    return path


@cache
def provider_mirror() -> Path | None:
    """A folder with a copy of the AWS provider, None if the registry has to serve it."""
    for base in MIRRORS:
        for mirror in Path(base).glob("*/registry.terraform.io/hashicorp/aws"):
            return mirror.parents[2]
    return None


def initialisation() -> list[str]:
    """The arguments with which `terraform init` takes the provider from the copy, none if the registry serves it."""
    mirror = provider_mirror()
    return [f"-plugin-dir={mirror}"] if mirror else []


@cache
def rendered() -> Path:
    """A folder with the definitions that `make definitions` writes, once for all tests of a process."""
    folder = Path(tempfile.mkdtemp(prefix="rendered-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    script = ROOT.parent / "scripts" / "render_definitions.py"
    subprocess.run([sys.executable, script, folder], check=True, timeout=120)
    return folder


@dataclass
class Workspace:
    """A copy of the stack with a state of its own, for one environment."""

    folder: Path
    environment: str
    endpoint: str
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stack(self) -> Path:
        return self.folder / "stack"

    def init(self) -> None:
        copy_terraform(self.folder)
        shutil.copytree(rendered(), self.stack / "rendered")
        (self.stack / "test_override.tf").write_text(OVERRIDE)
        (self.stack / "test.tfvars.json").write_text(
            json.dumps(dict(self.variables) | {"environment": self.environment})
        )
        done = self.run("init", "-input=false", "-no-color", *initialisation(), check=False)
        if done.returncode != 0:
            pytest.fail(_reason(done.stderr))

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command in the stack. Raises AssertionError with Terraform's errors if it fails and `check` is set."""
        done = subprocess.run(
            [terraform(), *arguments],
            cwd=self.stack,
            env=self._environment(),
            text=True,
            capture_output=True,
            timeout=900,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"terraform {' '.join(arguments)}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def with_values(self, *arguments: str) -> tuple[str, ...]:
        """The arguments of a command that reads variables: those of the environment's file, and then the workspace's."""
        file = "sandbox" if self.environment.startswith("s-") else self.environment
        files = (f"-var-file=../envs/{file}.tfvars", "-var-file=test.tfvars.json")
        command, *rest = arguments
        return (command, "-input=false", "-no-color", *files, *rest)

    def plan(self) -> dict[str, Any]:
        """The plan as JSON."""
        self.run(*self.with_values("plan", "-out=tfplan"))
        return json.loads(self.run("show", "-json", "tfplan").stdout)

    def apply(self) -> None:
        self.run(*self.with_values("apply", "-auto-approve"))

    def destroy(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(*self.with_values("destroy", "-auto-approve", *arguments), check=check)

    def resources(self) -> list[dict[str, Any]]:
        """The resources of the state, each with `type`, `address` and `values`. Data sources are left out."""
        state = json.loads(self.run("show", "-json").stdout)
        return list(_resources(state.get("values", {}).get("root_module", {})))

    def changes(self) -> list[str]:
        """Addresses that a second plan would change."""
        plan = self.plan()
        return [
            change["address"]
            for change in plan.get("resource_changes", [])
            if change["change"]["actions"] not in (["no-op"], ["read"])
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_CONFIG_FILE": os.devnull,
            "TF_REGISTRY_DISCOVERY_RETRY": "1",
            **_downloads(),
        }


def _downloads() -> dict[str, str]:
    if provider_mirror():
        return {}
    DOWNLOADS.mkdir(exist_ok=True)
    return {
        "TF_PLUGIN_CACHE_DIR": str(DOWNLOADS),
        "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
    }


def _reason(errors: str) -> str:
    """Why `terraform init` failed, and what to do if it could not get the provider."""
    if "provider" not in errors:
        return f"terraform init:\n{errors}"
    return (
        "The AWS provider is missing: these tests need hashicorp/aws 5.100 from the registry, or a copy below "
        f"{', '.join(MIRRORS)} as `terraform providers mirror <folder>` writes it "
        f"(https://developer.hashicorp.com/terraform/cli/commands/providers/mirror).\n{errors}"
    )


def _resources(module: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (resource for resource in module.get("resources", []) if resource["mode"] == "managed")
    for child in module.get("child_modules", []):
        yield from _resources(child)


def addresses(plan: Mapping[str, Any]) -> set[str]:
    """Addresses of all resources that the plan creates."""
    return {
        change["address"] for change in plan["resource_changes"] if "create" in change["change"]["actions"]
    }
