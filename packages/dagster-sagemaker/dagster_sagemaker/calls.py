"""Calls AWS once, counts the call and classifies its error. Waiting and retries do not belong here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnection

_THROTTLED = re.compile(
    r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|BandwidthLimit|ExpiredToken", re.I
)
"""Expired credentials are included: a refresh in this process may renew them."""
_UNAVAILABLE = {
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "InternalFailure",
    "InternalError",
    "InternalServerError",
    "InternalServerException",
    "RequestTimeout",
    "RequestTimeoutException",
}
_UNANSWERED = (
    NoConnection,
    HTTPClientError,
    IncompleteReadError,
    CredentialRetrievalError,
    MetadataRetrievalError,
)
"""No DNS name, route, connection or complete answer. A bad certificate is included: a proxy may renew its own."""
_NO_CAPACITY = {"InsufficientInstanceCapacity", "CapacityError"}
_NOT_FOUND = {"ResourceNotFound", "ResourceNotFoundException", "NoSuchKey", "404"}
_REMEDIES = (
    (
        "NoCredentials|PartialCredentials",
        "Sign in (aws sso login), set AWS_PROFILE or the AWS_* credentials, or give this process a role.",
    ),
    (
        "InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|InvalidSignature|InvalidAccessKeyId",
        "These credentials are not valid, or have expired: renew them.",
    ),
    ("NoSuchBucket", "Create the bucket, or correct the client's `artifacts`."),
    (
        "AccessDenied",
        "Give the role of this process this permission. If the message names the job's role, also iam:PassRole.",
    ),
)


class CallError(Exception):
    """A failed call. `code` is AWS's error code, or the name of botocore's exception."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        self.operation, self.code, self.message = operation, code, message
        super().__init__(f"{operation}: {code}: {message}")


class Transient(CallError):
    """Throttled, unanswered, or failed inside AWS. May be retried, but the call may have taken effect."""


class Refused(CallError):
    """AWS would refuse the same call again."""

    @property
    def remedy(self) -> str:
        """What to do, as a sentence. Empty if AWS's message must be enough."""
        return next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, self.code)), "")


class NotFound(Refused):
    """The job, object, log group or stream does not exist."""


class NotModified(Refused):
    """The object has not changed since the given time."""


class InUse(Refused):
    """A job of this name already exists."""


class QuotaReached(Refused):
    """The job would exceed a quota of the account."""


class NoCapacity(Refused):
    """AWS has no free instance of this type at the moment."""


class Calls:
    """Makes calls and counts them by operation, for one job."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, function: Callable[..., Any], **parameters: Any) -> Any:
        """Calls a boto3 method once. Raises the subclass of `CallError` that fits the error."""
        operation = "".join(word.capitalize() for word in function.__name__.split("_"))
        self.counts[operation] += 1
        try:
            return function(**parameters)
        except (ClientError, BotoCoreError) as error:
            raise call_error(operation, error) from error


def call_error(operation: str, error: ClientError | BotoCoreError) -> CallError:
    if not isinstance(error, ClientError):
        kind = Transient if isinstance(error, _UNANSWERED) else Refused
        return kind(operation, type(error).__name__, str(error))
    answer = error.response.get("Error", {})
    code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _class_of(code, message, status)(operation, code, message)


def _class_of(code: str, message: str, status: int) -> type[CallError]:
    if code in ("ResourceInUse", "ResourceInUseException"):
        return InUse
    # AWS also reports missing capacity with the code of a reached quota. Only the message differs.
    if code in _NO_CAPACITY or re.search("InsufficientInstanceCapacity|CapacityError", message):
        return NoCapacity
    if code in ("ResourceLimitExceeded", "ResourceLimitExceededException"):
        return QuotaReached
    # SageMaker reports an unknown job as a ValidationException.
    unknown = code == "ValidationException" and re.search(r"could not find|not found", message, re.I)
    if code in _NOT_FOUND or status == 404 or unknown:
        return NotFound
    if code in ("304", "NotModified") or status == 304:
        return NotModified
    if _THROTTLED.search(code) or code in _UNAVAILABLE or status == 429 or status >= 500:
        return Transient
    return Refused
