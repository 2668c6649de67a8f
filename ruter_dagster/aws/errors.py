"""Faults of AWS that no retry cures, told by their code, each with its remedy; whatever is not here may pass."""

from __future__ import annotations

import re

_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), remedy)
    for pattern, remedy in (
        (
            r"no_?such_?bucket|bucket does not exist",
            "Check the name of the bucket: it must be there before anything is read or written.",
        ),
        (
            r"unable to locate credentials|no_?credentials|no credentials|partial credentials|config profile .* could not",
            "Sign in (aws sso login), set AWS_PROFILE or the AWS_* credentials, or give the container a role.",
        ),
        (
            r"expired_?token|token.{0,20} (?:has |is )?expired|invalid_?(?:access_?key_?id|client_?token_?id)"
            r"|unrecognized_?client|signature_?does_?not_?match",
            "These credentials are not, or no longer, valid: renew them, then run the step again.",
        ),
        (
            r"permanent_?redirect|authorization_?header_?malformed|illegal_?location_?constraint|you must specify a region",
            "AWS_REGION must be the region in which the bucket and the catalog lie.",
        ),
        (
            r"kms\.?(?:disabled|not_?found|invalid_?state)|kms_?key_?disabled",
            "The KMS key of the bucket cannot be used: enable it, or name another one.",
        ),
        (
            r"access_?denied|access denied|not authorized to perform|403 forbidden|status code:? 403|all_?access_?disabled"
            r"|\[code 15\]",
            "Give the role of this process that right, on this object or table, and on the key that encrypts it.",
        ),
        (
            r"resource_?number_?limit_?exceeded",
            "A quota of the account is used up: remove what is old, or have the quota raised.",
        ),
    )
)


def remedy_of(error: BaseException) -> str | None:
    """What a person must do about a fault of S3, Glue or Athena; None where it is none, or may pass (throttling, 5xx, network)."""
    text = f"{type(error).__name__} {code_of(error)} {error}"
    return next((remedy for pattern, remedy in _REMEDIES if pattern.search(text)), None)


def code_of(error: BaseException) -> str:
    """AWS's code of an error of boto3, empty where it has none."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def first_line(error: BaseException) -> str:
    """The fault in one line: object stores append what they tried."""
    return (str(error).strip() or type(error).__name__).split("\n\nDebug source")[0].splitlines()[0]
