"""The evaluator of policies: deny, wildcards, conditions, boundaries."""

from __future__ import annotations

from typing import Any

import pytest

from tests.terraform.policies import allowed, statements

BUCKET = "arn:aws:s3:::rd-s-first-1a2b3c-lake"


def policy(*, effect: str = "Allow", action: Any = "s3:*", resource: Any = "*", **more: Any) -> Any:
    return statements(
        {"p": {"Statement": [{"Effect": effect, "Action": action, "Resource": resource} | more]}}
    )


@pytest.mark.parametrize(
    ("pattern", "resource", "matches"),
    [
        ("arn:aws:s3:::rd-s-*", BUCKET, True),
        ("arn:aws:s3:::rd-s-*", "arn:aws:s3:::rd-stage-lake", False),
        ("arn:aws:s3:::rd-?-first*", BUCKET, True),
        ("arn:aws:s3:::RD-S-*", BUCKET, False),
        ("arn:aws:s3:::rd-s-*/*", BUCKET, False),
    ],
)
def test_wildcards_match_as_in_aws(pattern: str, resource: str, matches: bool) -> None:
    assert allowed(policy(resource=pattern), "s3:GetObject", resource) == matches


def test_not_resource_covers_all_others() -> None:
    (statement,) = statements(
        {"p": {"Statement": {"Effect": "Allow", "Action": "s3:*", "NotResource": BUCKET}}}
    )
    assert not allowed([statement], "s3:GetObject", BUCKET)
    assert allowed([statement], "s3:GetObject", f"{BUCKET}-2")


def test_actions_ignore_case() -> None:
    assert allowed(policy(action="S3:get*"), "s3:GetObject", BUCKET)


def test_a_deny_wins() -> None:
    denied = policy() + policy(effect="Deny", action="s3:Delete*")
    assert allowed(denied, "s3:GetObject", BUCKET)
    assert not allowed(denied, "s3:DeleteObject", BUCKET)


def test_a_boundary_limits_what_policies_allow() -> None:
    assert not allowed(policy(), "s3:PutObject", BUCKET, boundary=policy(action="s3:Get*"))
    assert not allowed(policy(action="s3:Get*"), "s3:PutObject", BUCKET, boundary=policy())


@pytest.mark.parametrize(
    ("operator", "values", "value", "holds"),
    [
        ("StringEquals", "s-1", "s-1", True),
        ("StringEquals", "s-*", "s-1", False),
        ("StringLike", "s-*", "s-1", True),
        ("StringLike", "s-*", None, False),
        ("StringNotLike", "s-*", "prod", True),
        ("StringNotLike", "s-*", None, True),
        ("StringLikeIfExists", "s-*", None, True),
        ("StringLikeIfExists", "s-*", "prod", False),
        ("Null", "false", "prod", True),
        ("Null", "false", None, False),
        ("ForAllValues:StringLike", "s-*", None, True),
        ("ForAnyValue:StringEquals", ["alias/rd-prod"], "alias/rd-dev", False),
        ("Bool", "true", "true", True),
    ],
)
def test_conditions_hold_as_in_aws(operator: str, values: Any, value: str | None, holds: bool) -> None:
    conditioned = policy(Condition={operator: {"aws:ResourceTag/environment": values}})
    context = {} if value is None else {"aws:resourcetag/Environment": value}
    assert allowed(conditioned, "s3:GetObject", BUCKET, context) == holds


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(KeyError):
        allowed(
            policy(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
            "s3:GetObject",
            BUCKET,
            {"aws:SourceIp": "10.0.0.1"},
        )
