"""Two pipelines apply the same sandbox at once: `scripts/cloud/terraform` with the lock of its S3 backend."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.inventory import client
from tests.terraform.moto_shim import REGION
from tests.terraform.terraform import ROOT, initialisation, terraform

pytestmark = [pytest.mark.extended, pytest.mark.xdist_group("terraform")]

SCRIPT = Path(__file__).parents[2] / "scripts" / "cloud" / "terraform"
ID = "s-mybranch-1a2b3c"
BUCKET = "rd-state-of-locks"
LOCK = f"sandbox/{ID}/terraform.tfstate.tflock"
SLOW = """
variable "release" { type = string }

resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "until [ -e '${var.release}' ]; do sleep 0.1; done"
  }
}
"""


@dataclass
class Pipeline:
    """A job of a branch's pipeline: its own checkout, and the state that all jobs share."""

    root: Path
    endpoint: str
    release: Path

    def apply(self, *arguments: str, sandbox: str = ID) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(SCRIPT), sandbox, "apply", "-auto-approve", "-no-color", *arguments],
            env=self._environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        path_style = (
            "use_path_style skip_credentials_validation skip_metadata_api_check skip_requesting_account_id"
        )
        backend = " ".join(f"-backend-config={name}=true" for name in path_style.split())
        return kept | {
            "PATH": f"{Path(terraform()).parent}{os.pathsep}{os.environ['PATH']}",
            "ROOT": str(self.root),
            "STATE_BUCKET": BUCKET,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "TF_CLI_ARGS_init": " ".join([*initialisation(), backend]),
            "TF_VAR_release": str(self.release),
        }


@dataclass
class Busy:
    """An apply that holds the lock until `finish` is called, and a way to start others."""

    s3: Any
    apply: subprocess.Popen[str]
    pipeline: Callable[[str], Pipeline]

    def finish(self) -> str:
        """Lets the apply end, and returns what it wrote. Raises AssertionError if it failed."""
        release = self.pipeline("first").release
        release.touch()
        output, errors = self.apply.communicate(timeout=60)
        assert self.apply.returncode == 0, errors
        return output

    def locked(self) -> bool:
        answer = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=LOCK)
        return bool(answer.get("Contents"))


@pytest.fixture
def busy(tmp_path: Path, aws_endpoint: str) -> Iterator[Busy]:
    s3 = client(aws_endpoint, "s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def pipeline(name: str) -> Pipeline:
        root = tmp_path / name
        shutil.copytree(
            ROOT / "teardown", root, ignore=shutil.ignore_patterns(".terraform*"), dirs_exist_ok=True
        )
        (root / "slow.tf").write_text(SLOW)
        return Pipeline(root, aws_endpoint, tmp_path / "release")

    made = Busy(s3, pipeline("first").apply(), pipeline)
    try:
        _wait(made.locked)
        yield made
    finally:
        made.apply.kill()
        _empty(s3)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.1)


def _empty(s3: Any) -> None:
    for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    s3.delete_bucket(Bucket=BUCKET)


def test_second_apply_waits_for_the_first(busy: Busy) -> None:
    second = busy.pipeline("second").apply()
    with pytest.raises(subprocess.TimeoutExpired):
        second.communicate(timeout=10)
    assert "Apply complete! Resources: 1 added" in busy.finish()
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert "Acquiring state lock" in output
    assert "Apply complete! Resources: 0 added, 0 changed, 0 destroyed" in output
    assert not busy.locked()


def test_apply_says_who_holds_the_lock_when_its_time_is_over(busy: Busy) -> None:
    second = busy.pipeline("second").apply("-lock-timeout=1s")
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "Error acquiring the state lock" in errors
    assert "OperationTypeApply" in errors
    assert f"{BUCKET}/sandbox/{ID}/terraform.tfstate" in errors
    assert busy.locked()
    busy.finish()


def test_lock_of_one_sandbox_does_not_delay_another(busy: Busy) -> None:
    other = busy.pipeline("second").apply("-var=release=/", "-lock-timeout=0s", sandbox="s-other-4d5e6f")
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    assert busy.locked()
    busy.finish()
