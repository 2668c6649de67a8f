"""scripts/cloud/build_images builds, pushes and reuses images. Scripts stand for Docker and the AWS CLI, and record their calls."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REGISTRY = "123456789012.dkr.ecr.eu-north-1.amazonaws.com"
COPIED = (".dockerignore", "LICENSE", "README.md", "pyproject.toml", "docker", "packages")

AWS = """#!/bin/bash
echo "aws $*" >> "$CALLS"
case "$*" in
  *get-login-password*) echo the-password ;;
  *describe-images*)
    [ -z "$DENIED" ] || { echo "AccessDeniedException: no" >&2; exit 254; }
    name=$(sed -E 's/.*--repository-name ([^ ]+) --image-ids imageTag=([^ ]+).*/\\1:\\2/' <<< "$*")
    grep -qx "$name" "$IMAGES" || { echo "An error occurred (ImageNotFoundException) when calling DescribeImages" >&2; exit 254; }
    echo "sha256:$(sha256sum <<< "$name" | cut -c1-64)" ;;
esac
"""
BUILDER = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$1" in
  login) [ "$(cat)" = the-password ] || exit 1 ;;
  push) echo "${!#}" | sed 's#^[^/]*/##' >> "$IMAGES" ;;
esac
"""


@dataclass
class Registry:
    """A checkout with fake commands. `calls` are those of the last run, and images stay from run to run."""

    folder: Path
    builder: str = "docker"

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    def build(
        self, branch: str = "feature/x", check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "calls").write_text("")
        values = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "CALLS": str(self.folder / "calls"),
            "IMAGES": str(self.folder / "images"),
            "DENIED": "",
            "ECR_REGISTRY": REGISTRY,
            "AWS_REGION": "eu-north-1",
            "CI_COMMIT_SHA": "0123456789abcdef0123456789abcdef01234567",
            "CI_COMMIT_BRANCH": branch,
            "CI_DEFAULT_BRANCH": "main",
            "CI_JOB_ID": "77",
        }
        done = subprocess.run(
            ["bash", "scripts/cloud/build_images"],
            cwd=self.checkout,
            env=values | variables,
            text=True,
            capture_output=True,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def calls(self, command: str) -> list[str]:
        return [line for line in (self.folder / "calls").read_text().splitlines() if line.startswith(command)]

    def images(self) -> dict[str, str]:
        lines = (self.checkout / "images.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def registry(tmp_path: Path, request: pytest.FixtureRequest) -> Registry:
    made = Registry(tmp_path, getattr(request, "param", "docker"))
    made.checkout.mkdir()
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, made.checkout / name)
    (made.checkout / "ruter_dagster").mkdir()
    (made.checkout / "ruter_dagster" / "module.py").write_text("")
    (made.checkout / "requirements-jobs.lock").write_text("numpy==2.0\n")
    shutil.copytree(ROOT / "scripts" / "cloud", made.checkout / "scripts" / "cloud")
    (tmp_path / "bin").mkdir()
    for name, text in {"aws": AWS, made.builder: BUILDER}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "images").write_text("")
    return made


def test_both_images_are_pushed_and_named_by_digest(registry: Registry) -> None:
    registry.build()
    assert list(registry.images()) == ["TF_VAR_jobs_image", "TF_VAR_orchestrator_image"]
    for repository, image in zip(("rd-jobs", "rd-dagster"), registry.images().values(), strict=True):
        assert re.fullmatch(rf"{REGISTRY}/{repository}@sha256:[0-9a-f]{{64}}", image)
    builds = registry.calls("docker build")
    assert [re.search(r"--file (\S+)", build)[1] for build in builds] == [  # type: ignore[index]
        "docker/jobs.Dockerfile",
        "docker/orchestrator.Dockerfile",
    ]
    assert all("COMMIT=0123456789abcdef" in build and "--provenance=false" in build for build in builds)


@pytest.mark.parametrize("registry", ["buildah"], indirect=True)
def test_buildah_builds_where_docker_is_missing(registry: Registry) -> None:
    registry.build()
    assert len(registry.calls("buildah build --platform linux/amd64 --format docker")) == 2
    assert len(registry.images()) == 2


def test_password_is_no_argument(registry: Registry) -> None:
    registry.build()
    assert registry.calls("docker login")
    assert "the-password" not in (registry.folder / "calls").read_text()


def test_image_of_the_same_content_is_reused_by_branches(registry: Registry) -> None:
    registry.build()
    images = registry.images()
    registry.build("feature/y", CI_COMMIT_SHA="f" * 40, CI_JOB_ID="78")
    assert registry.calls("docker build") == registry.calls("docker push") == []
    assert registry.images() == images


@pytest.mark.parametrize(
    "changed",
    [
        "ruter_dagster/module.py",
        "packages/dagster-sagemaker/dagster_sagemaker/client.py",
        "requirements-jobs.lock",
        "docker/jobs.Dockerfile",
    ],
)
def test_changed_content_gets_another_image(registry: Registry, changed: str) -> None:
    registry.build()
    images = registry.images()
    with (registry.checkout / changed).open("a") as file:
        file.write("# another line\n")
    registry.build()
    assert len(registry.calls("docker build")) == 2
    assert set(images.values()).isdisjoint(registry.images().values())


def test_default_branch_never_uses_an_image_of_a_branch(registry: Registry) -> None:
    registry.build()
    images = registry.images()
    registry.build("main")
    assert len(registry.calls("docker build")) == 2
    assert set(images.values()).isdisjoint(registry.images().values())
    assert all("main-0123456789ab-77" in push for push in registry.calls("docker push"))


def test_tags_follow_the_rule_that_deletes_images_of_branches(registry: Registry) -> None:
    rules = (ROOT / "terraform" / "bootstrap" / "main.tf").read_text()
    prefixes = re.findall(r'tagPrefixList = \["([^"]+)"\]', rules)
    registry.build()
    tags = [push.rsplit(":", 1)[1] for push in registry.calls("docker push")]
    assert prefixes == ["branch-"] and all(tag.startswith("branch-") for tag in tags)


def test_other_errors_of_the_registry_are_no_missing_image(registry: Registry) -> None:
    done = registry.build(check=False, DENIED="yes")
    assert done.returncode != 0
    assert "AccessDeniedException" in done.stderr
    assert registry.calls("docker build") == []


def test_repositories_are_those_of_the_bootstrap(registry: Registry) -> None:
    registry.build()
    code = (ROOT / "terraform" / "bootstrap" / "main.tf").read_text()
    names = set(re.findall(r'"(\w+)"', re.search(r"for_each = toset\((\[.*?\])\)", code)[1]))  # type: ignore[index]
    pushed = {push.rsplit(":", 1)[0].rsplit("/", 1)[1] for push in registry.calls("docker push")}
    assert pushed <= {f"rd-{name}" for name in names}
