"""Each folder of terraform/ has a README whose tables follow from its code, and whose links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.terraform_tables import TERRAFORM, folders, readme

READMES = sorted({*(folder / "README.md" for folder in folders()), TERRAFORM / "envs" / "README.md"})


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_tables_of_inputs_and_outputs_are_up_to_date(folder: Path) -> None:
    assert (folder / "README.md").read_text() == readme(folder), "run python scripts/terraform_tables.py"


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_every_variable_and_output_is_described(folder: Path) -> None:
    without_meaning = re.findall(r"^\| `(\w+)` \|(?:[^|]*\|)? *\|$", readme(folder), re.MULTILINE)
    assert without_meaning == []


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.parent.name)
def test_every_file_that_a_readme_links_to_exists(page: Path) -> None:
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_every_folder_has_a_readme() -> None:
    assert [str(page) for page in READMES if not page.exists()] == []
