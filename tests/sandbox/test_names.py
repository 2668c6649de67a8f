"""The id of a sandbox, and which names belong to it."""

from __future__ import annotations

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox, ref_slug, sandbox_id

SANDBOX = Sandbox.of("s-seats-1a2b3c")


@pytest.mark.parametrize(
    "text",
    ["", "dev", "test", "stage", "prod", "s-", "s-seats", "s-seats-1a2b3", "s-seats-1a2b3c4", "S-SEATS-1A2B3C", "s-*-1a2b3c", "rd-s-seats-1a2b3c"],
)  # fmt: skip
def test_other_environments_and_parts_of_ids_are_refused(text: str) -> None:
    with pytest.raises(PermanentFailure, match="is no sandbox"):
        Sandbox.of(text)


def test_names_follow_from_the_id() -> None:
    assert (SANDBOX.name, SANDBOX.database, SANDBOX.topic_prefix) == (
        "rd-s-seats-1a2b3c",
        "rd_s_seats_1a2b3c",
        "s-seats-1a2b3c.",
    )


@pytest.mark.parametrize("name", ["rd-s-seats-1a2b3c", "rd-s-seats-1a2b3c-run"])
def test_own_names_are_recognised(name: str) -> None:
    assert SANDBOX.owns(name)


@pytest.mark.parametrize(
    "name",
    ["rd-s-seats-1a2b3d-run", "rd-s-seats-1a2b3c4", "rd-prod", "x-rd-s-seats-1a2b3c", "rd-s-seat-1a2b3c-run"],
)
def test_names_of_others_are_not(name: str) -> None:
    assert not SANDBOX.owns(name)


@pytest.mark.parametrize(
    ("branch", "slug"),
    [
        ("feature/Seats_2", "feature-seats-2"),
        ("-æøå-", ""),
        ("x" * 70, "x" * 63),
        ("a" * 62 + "/b", "a" * 62),
    ],
)
def test_slug_is_that_of_gitlab(branch: str, slug: str) -> None:
    assert ref_slug(branch) == slug


def test_every_branch_has_a_valid_id() -> None:
    for branch in ("main", "feature/æøå", "☃", "a" * 300, "/", "feature/seats"):
        assert Sandbox.of(sandbox_id(branch)).id == sandbox_id(branch)
