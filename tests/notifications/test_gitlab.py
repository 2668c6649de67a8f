"""A branch has one note in its merge request. GitLab may be busy or refuse it, and the token is never shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.notifications.gitlab import (
    MAX_CHARACTERS,
    MergeRequest,
    merge_requests,
    note_marker,
    post_note,
)
from tests.gitlab_stub import TOKEN, GitLabStub, running_gitlab

MARKER = note_marker("feature/seats")
REQUEST = "/projects/7/merge_requests/12"


@pytest.fixture
def gitlab() -> Iterator[GitLabStub]:
    with running_gitlab() as stub:
        yield stub


def variables(gitlab: GitLabStub, **more: str) -> dict[str, str]:
    return {
        "CI_API_V4_URL": gitlab.url,
        "CI_PROJECT_ID": "7",
        "CI_PROJECT_PATH": "ruter/loads",
        "CI_OPEN_MERGE_REQUESTS": "ruter/loads!12",
        "GITLAB_NOTE_TOKEN": TOKEN,
        **more,
    }


def request_of(gitlab: GitLabStub, **more: str) -> MergeRequest:
    [request] = merge_requests(variables(gitlab, **more))
    return request


def post(gitlab: GitLabStub, text: str = "text", marker: str = MARKER) -> str:
    return post_note(request_of(gitlab), marker, text, pause=0)


def test_first_note_is_added_with_token(gitlab: GitLabStub) -> None:
    assert post(gitlab, "## Forecasts") == "added"
    assert gitlab.bodies(REQUEST) == [f"{MARKER}\n## Forecasts"]
    assert {token for _, _, token in gitlab.requests} == {TOKEN}


def test_later_note_replaces_earlier_note_of_the_branch(gitlab: GitLabStub) -> None:
    post(gitlab, "first")
    assert post(gitlab, "second") == "updated"
    assert gitlab.bodies(REQUEST) == [f"{MARKER}\nsecond"]


def test_notes_of_others_are_kept(gitlab: GitLabStub) -> None:
    others = ["Looks good", f"> quoted\n{MARKER}\nfirst", f"{note_marker('other')}\nfirst"]
    gitlab.notes[REQUEST] = [{"id": number, "body": body} for number, body in enumerate(others)]
    assert post(gitlab) == "added"
    assert gitlab.bodies(REQUEST)[:3] == others


def test_note_over_the_limit_is_cut_after_a_line(gitlab: GitLabStub) -> None:
    lines = "\n".join(f"| line {number} | bus |" for number in range(60_000))
    post(gitlab, f"## Forecasts\n<details><summary>By line</summary>\n\n{lines}\n\n</details>")
    [body] = gitlab.bodies(REQUEST)
    assert MAX_CHARACTERS - 100 < len(body) <= MAX_CHARACTERS
    last_row, _, end = body.rpartition(" | bus |\n\n</details>\n\n")
    assert last_row and end.startswith("The note is longer than GitLab accepts")
    assert post(gitlab, lines) == "updated"


def test_longest_note_is_posted_whole(gitlab: GitLabStub) -> None:
    text = "ø" * (MAX_CHARACTERS - len(MARKER) - 1)
    post(gitlab, text)
    assert gitlab.bodies(REQUEST) == [f"{MARKER}\n{text}"]


@pytest.mark.parametrize("others", [99, 100, 250])
def test_earlier_note_is_found_behind_many_others(gitlab: GitLabStub, others: int) -> None:
    gitlab.notes[REQUEST] = [{"id": number, "body": "comment"} for number in range(others)]
    gitlab.notes[REQUEST].append({"id": 999, "body": f"{MARKER}\nfirst"})
    assert post(gitlab, "second") == "updated"
    assert gitlab.bodies(REQUEST)[-1] == f"{MARKER}\nsecond"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_gitlab_is_asked_again(gitlab: GitLabStub, status: int) -> None:
    gitlab.answers = [status, None, status]
    assert post(gitlab) == "added"
    assert len(gitlab.bodies(REQUEST)) == 1


def test_note_with_a_lost_answer_is_not_added_twice(gitlab: GitLabStub) -> None:
    gitlab.lost_answers = 1
    assert post(gitlab) == "updated"
    assert len(gitlab.bodies(REQUEST)) == 1


def test_gitlab_that_stays_busy_is_one_sentence(gitlab: GitLabStub) -> None:
    gitlab.answers = [503] * 10
    with pytest.raises(PermanentFailure, match=r"not posted: GitLab answers 503 .* Run the job again"):
        post(gitlab)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_names_the_token_without_its_value(gitlab: GitLabStub, status: int) -> None:
    gitlab.answers = [status]
    with pytest.raises(PermanentFailure, match=f"refused the note: {status} .*GITLAB_NOTE_TOKEN") as refusal:
        post(gitlab)
    assert len(gitlab.requests) == 1, "a refusal is not repeated"
    assert TOKEN not in str(refusal.value)
    assert TOKEN not in repr(request_of(gitlab))


def test_token_is_not_sent_to_a_redirect(gitlab: GitLabStub) -> None:
    with running_gitlab() as other:
        gitlab.answers, gitlab.location = [302], f"{other.url}/stolen"
        with pytest.raises(PermanentFailure, match="302"):
            post(gitlab)
        assert other.requests == []


def test_unreachable_gitlab_is_reported_with_address() -> None:
    with running_gitlab() as stub:
        request = request_of(stub)
    with pytest.raises(PermanentFailure, match=r"does not answer at http://127\.0\.0\.1"):
        post_note(request, MARKER, "text", pause=0)


def test_merge_request_of_a_fork_is_in_its_own_project(gitlab: GitLabStub) -> None:
    request = request_of(gitlab, CI_OPEN_MERGE_REQUESTS="upstream/loads!3")
    post_note(request, MARKER, "text", pause=0)
    assert gitlab.bodies("/projects/upstream%2Floads/merge_requests/3") == [f"{MARKER}\ntext"]


def test_branch_without_merge_request_has_none(gitlab: GitLabStub) -> None:
    assert merge_requests(variables(gitlab, CI_OPEN_MERGE_REQUESTS="")) == []


@pytest.mark.parametrize("name", ["CI_API_V4_URL", "CI_PROJECT_ID", "GITLAB_NOTE_TOKEN"])
def test_missing_variable_is_named(gitlab: GitLabStub, name: str) -> None:
    with pytest.raises(PermanentFailure, match=f"{name} is not set: "):
        merge_requests(variables(gitlab, **{name: ""}))


def test_wrong_variables_are_refused(gitlab: GitLabStub) -> None:
    with pytest.raises(PermanentFailure, match="no web address"):
        merge_requests(variables(gitlab, CI_API_V4_URL="file:///etc/passwd"))
    with pytest.raises(PermanentFailure, match="'12', which is not as in group/project!12"):
        merge_requests(variables(gitlab, CI_OPEN_MERGE_REQUESTS="12"))


@pytest.mark.parametrize("branch", ["a-->b", "æøå/☃", "x" * 300])
def test_marker_is_one_comment_for_any_branch(branch: str) -> None:
    assert note_marker(branch).count("-->") == 1
    assert note_marker(branch).endswith(" -->")
    assert note_marker(branch) != note_marker(branch + "2")
