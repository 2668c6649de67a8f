"""Ids of sandboxes: valid for AWS and distinct, whatever the branch is called."""

from __future__ import annotations

import random
import re
import subprocess
import unicodedata

import pytest

from tests.terraform.sandbox_ids import SCRIPT, sandbox_id, tag
from tests.terraform.terraform import ROOT

LETTERS = "abcæøåÆØÅéß/._-#@ 09🚌\u0301İ中"
BRANCHES = [
    "a",
    "main",
    "x" * 255,
    "feature/" + "deep/" * 40 + "end",
    "feature/holdeplass-æøå",
    "feature/HOLDEPLASS-ÆØÅ",
    "🚌🚋",
    "feature/🚌",
    "feature/---",
    "feature/...",
    "release/2026.11",
    "a/b",
    "a-b",
    "ab",
    "AB",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "feature/route-forecasts-1",
    "feature/route-forecasts-2",
    "bugfix/route-forecasts-1",
    'quote"$(touch x)`;&',
]


def _random_branches(count: int) -> set[str]:
    """Names of 1 to 60 letters, the same in each run."""
    generator = random.Random(17)
    return {"".join(generator.choices(LETTERS, k=generator.randint(1, 60))) for _ in range(count)}


def _allowed(variable: str) -> re.Pattern[str]:
    """The pattern with which the stack validates a variable."""
    block = (
        (ROOT / "stack" / "variables.tf").read_text().split(f'variable "{variable}" {{')[1].split("\n}\n")[0]
    )
    match = re.search(r'regex\("(.+?)", var\.', block)
    assert match is not None
    return re.compile(match[1])


@pytest.mark.parametrize("branch", BRANCHES)
def test_stack_accepts_id_and_tag_of_a_branch(branch: str) -> None:
    assert _allowed("environment").search(sandbox_id(branch))
    assert _allowed("branch").search(tag(branch))


def test_stack_accepts_ids_of_random_branches() -> None:
    branches = _random_branches(2000)
    assert [branch for branch in branches if not _allowed("environment").search(sandbox_id(branch))] == []
    assert [branch for branch in branches if not _allowed("branch").search(tag(branch))] == []


def test_ids_of_branches_are_distinct() -> None:
    branches = {*BRANCHES, *_random_branches(2000)}
    assert len({sandbox_id(branch) for branch in branches}) == len(branches)


def test_branches_with_equal_first_letters_have_different_hashes() -> None:
    first, second = sandbox_id("feature/route-forecasts-1"), sandbox_id("feature/route-forecasts-2")
    assert first[:-6] == second[:-6] == "s-routefor-"
    assert first[-6:] != second[-6:]


def test_id_of_a_branch_without_letters_says_branch() -> None:
    assert sandbox_id("feature/🚌").startswith("s-branch-")


def test_norwegian_letters_are_written_in_ascii() -> None:
    assert sandbox_id("Økt-Ås").startswith("s-oktas-")


@pytest.mark.parametrize("branch", BRANCHES)
def test_command_prints_the_id_of_the_branch_that_it_is_given(branch: str) -> None:
    done = subprocess.run([str(SCRIPT), branch], capture_output=True, text=True, check=True)
    assert done.stdout == f"{sandbox_id(branch)}\n"


def test_empty_branch_is_refused() -> None:
    done = subprocess.run([str(SCRIPT), ""], capture_output=True, text=True)
    assert done.returncode == 1
    assert "The branch has no name" in done.stderr
