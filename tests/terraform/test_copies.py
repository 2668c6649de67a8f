"""The copy of terraform/ in which tests run."""

from __future__ import annotations

from pathlib import Path

from tests.terraform.terraform import copy_terraform


def test_copy_leaves_out_the_values_of_an_account(tmp_path: Path) -> None:
    """docs/deploy.md asks to commit both: they would let a test reach the account, or fail."""
    bootstrap = tmp_path / "terraform" / "bootstrap"
    bootstrap.mkdir(parents=True)
    for name in ("main.tf", "backend_override.tf", "mine.auto.tfvars"):
        (bootstrap / name).touch()
    copy_terraform(tmp_path / "copy", tmp_path / "terraform")
    assert [path.name for path in (tmp_path / "copy" / "bootstrap").iterdir()] == ["main.tf"]
