"""Without Terraform, or without its provider, the tests of this folder fail and say what to install."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terraform import terraform as module
from tests.terraform.terraform import Workspace, provider_mirror, terraform


def test_missing_terraform_fails_and_names_its_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        pytest.fail.Exception, match=r"Terraform is missing.*1\.11.*https://developer\.hashicorp"
    ):
        terraform.__wrapped__()


@pytest.mark.extended
def test_missing_provider_fails_and_says_where_a_copy_is_expected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    provider_mirror.cache_clear()
    monkeypatch.setattr(module, "MIRRORS", (str(tmp_path / "mirrors"),))
    monkeypatch.setattr(module, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    workspace = Workspace(tmp_path / "workspace", "dev", "http://127.0.0.1:9")
    try:
        with pytest.raises(pytest.fail.Exception) as failure:
            workspace.init()
    finally:
        provider_mirror.cache_clear()
    reason = str(failure.value)
    assert reason.startswith("The AWS provider is missing: these tests need hashicorp/aws 5.100")
    assert str(tmp_path / "mirrors") in reason
    assert "terraform providers mirror" in reason
