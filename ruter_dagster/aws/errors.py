"""Errors of AWS that a retry does not fix, recognised by code or text, with a remedy for each. Retry all other errors."""

from __future__ import annotations

import re

_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), remedy)
    for pattern, remedy in (
        (
            r"no_?such_?bucket|bucket does not exist",
            "Check the name of the bucket: it must exist before anything is read or written.",
        ),
        (
            r"unable to locate credentials|no_?credentials|no credentials|partial credentials|config profile .* could not",
            "Sign in (aws sso login), set AWS_PROFILE or the AWS_* credentials, or give the container a role.",
        ),
        (
            r"expired_?token|token.{0,20} (?:has |is )?expired|invalid_?(?:access_?key_?id|client_?token_?id)"
            r"|unrecognized_?client|signature_?does_?not_?match",
            "The credentials are invalid or expired: renew them, then run the step again.",
        ),
        (
            r"permanent_?redirect|authorization_?header_?malformed|illegal_?location_?constraint|you must specify a region",
            "Set AWS_REGION to the region of the bucket and the catalog.",
        ),
        (
            r"kms\.?(?:disabled|not_?found|invalid_?state)|kms_?key_?disabled",
            "The KMS key of the bucket cannot be used: enable it, or choose another one.",
        ),
        (
            r"access_?denied|access denied|not authorized to perform|403 forbidden|status code:? 403|all_?access_?disabled"
            r"|\[code 15\]",
            "Grant the role of this process that permission on this object or table, and on the key that encrypts it.",
        ),
        (
            r"resource_?number_?limit_?exceeded",
            "A quota of the account is used up: remove old resources, or have the quota raised.",
        ),
    )
)


def remedy_of(error: BaseException) -> str | None:
    """What a person must do about an error of S3, Glue or Athena; None if a retry may fix it (throttling, 5xx, network)."""
    text = f"{type(error).__name__} {code_of(error)} {error}"
    return next((remedy for pattern, remedy in _REMEDIES if pattern.search(text)), None)


def code_of(error: BaseException) -> str:
    """AWS's code of a boto3 error; empty if it has none."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def first_line(error: BaseException) -> str:
    """First line of an error's message. Object stores append a list of their attempts."""
    return (str(error).strip() or type(error).__name__).split("\n\nDebug source")[0].splitlines()[0]
