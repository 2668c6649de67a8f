"""The documentation says what the code says: pages that follow from it, variables and links."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ruter_dagster.config.settings import ENV_FILE_VARIABLE, Settings
from ruter_dagster.contracts.container import BASE_VARIABLE, OWNER_VARIABLE, USER_VARIABLE
from scripts.check_sizes import PACKAGES
from scripts.reference import DOCS, PAGES, variable

ROOT = DOCS.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
WRITTEN_BY_HAND = [
    ROOT / "README.md",
    CONTRIBUTING,
    *(page for page in DOCS.rglob("*.md") if page.name not in PAGES),
    *(ROOT / "packages").rglob("*.md"),
]
VARIABLES = {variable(name) for name in Settings.model_fields}


@pytest.mark.parametrize("page", PAGES)
def test_generated_page_is_up_to_date(page: str):
    assert (DOCS / page).read_text() == PAGES[page](), f"docs/{page} is old: run python scripts/reference.py"


def test_every_setting_says_what_it_means():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=lambda page: page.name)
def test_every_variable_that_a_page_names_is_read(page: Path):
    named = set(re.findall(r"\b(?:RUTER|KAFKA)_[A-Z_]*[A-Z]\b", page.read_text()))
    assert named <= VARIABLES | {BASE_VARIABLE, ENV_FILE_VARIABLE, OWNER_VARIABLE, USER_VARIABLE}


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_is_there(page: Path):
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in linked if not (page.parent / link).exists()] == []


READ_BY_OTHERS = ("dashboard.md", "feeds.md", "alerts.md", "metrics.md", "ground-truth.md", "messages.md")


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("README.md", "## Operation"),
        ("README.md", "## Documentation"),
        ("docs/tutorial.md", "## Where next?"),
    ],
)
def test_entry_page_links_to_what_users_of_forecasts_read(page: str, heading: str):
    section = (ROOT / page).read_text().partition(f"{heading}\n")[2].partition("\n## ")[0]
    linked = {Path(link).name for link in re.findall(r"\]\(([^)#:]+)", section)}
    assert [name for name in READ_BY_OTHERS if name not in linked] == []


def test_contributing_names_only_existing_files():
    named = re.findall(r"`(?:[^` ]* )?((?:ruter_dagster|tests|scripts)/[^`]*)`", CONTRIBUTING.read_text())
    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_contributing_names_constants_and_functions_in_their_files():
    """In a step, the names to change in a file follow the file and a colon."""
    steps = re.findall(r"`((?:ruter_dagster|tests)/[^`]*\.py)`: ([^|]*)", CONTRIBUTING.read_text())
    absent = [
        (file, name)
        for file, text in steps
        for name in re.findall(r"`(\w+)`", text)
        if not re.search(rf"\b{name}\b", (ROOT / file).read_text())
    ]
    assert steps
    assert absent == [], "rename them in CONTRIBUTING.md too"


def test_every_command_that_the_readme_names_exists():
    from ruter_dagster.commands.cli import main

    named = set(re.findall(r"ruter-dagster ([a-z]+)", (ROOT / "README.md").read_text()))
    assert named and named <= set(main.commands)


FOLDERS = sorted(file.parent for name in PACKAGES for file in (ROOT / name).rglob("__init__.py"))


@pytest.mark.parametrize("package", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_states_what_belongs_in_it(package: Path):
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
    assert re.search(r"\bdo(es)? not belong here|\bbelongs? in `", docstring or "")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_ships_its_types(package: str):
    assert (ROOT / package / "py.typed").exists()
