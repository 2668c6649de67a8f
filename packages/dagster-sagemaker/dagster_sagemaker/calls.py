"""Calls of AWS: counted, tried once, their errors sorted by what follows from them. Waiting belongs to whoever calls."""

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

_PASSING = re.compile(
    r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|BandwidthLimit|ExpiredToken", re.I
)
"""Expired credentials too are waited for: whoever refreshes them does so in this process."""
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
"""No name, no route, no connection, no whole answer. A certificate that is refused is among them: a proxy's may be renewed."""
_NO_CAPACITY = {"InsufficientInstanceCapacity", "CapacityError"}
_NOT_FOUND = {"ResourceNotFound", "ResourceNotFoundException", "NoSuchKey", "404"}
_REMEDIES = (
    (
        "NoCredentials|PartialCredentials",
        "Sign in (aws sso login), set AWS_PROFILE or the AWS_* credentials, or give this process a role.",
    ),
    (
        "InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|InvalidSignature|InvalidAccessKeyId",
        "These credentials are not, or no longer, valid: renew them.",
    ),
    ("NoSuchBucket", "Create the bucket, or correct the client's `artifacts`."),
    (
        "AccessDenied",
        "Give the role of this process that right; iam:PassRole too, where the role of the job is named.",
    ),
)


class CallError(Exception):
    """A call without the wished answer. `code` is AWS's, or the name of botocore's error."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        self.operation, self.code, self.message = operation, code, message
        super().__init__(f"{operation}: {code}: {message}")


class Transient(CallError):
    """Throttled, unanswered or failed on AWS's side: to be tried again. It may have happened nevertheless."""


class Refused(CallError):
    """The same call would be refused again."""

    @property
    def remedy(self) -> str:
        """What a person must do, as a sentence; empty where AWS's own words must do."""
        return next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, self.code)), "")


class NotFound(Refused):
    """There is no such job, object, log group or stream."""


class NotModified(Refused):
    """The object is the one already known."""


class InUse(Refused):
    """A job of this name is there already."""


class QuotaReached(Refused):
    """The account may not run so many instances of this type at once."""


class NoCapacity(Refused):
    """AWS has no instance of this type to give at the moment."""


class Calls:
    """Makes calls and counts them by operation, for one job."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, function: Callable[..., Any], **parameters: Any) -> Any:
        """One try of a boto3 method. Raises a `CallError` of the class that the answer belongs to."""
        operation = "".join(word.capitalize() for word in function.__name__.split("_"))
        self.counts[operation] += 1
        try:
            return function(**parameters)
        except (ClientError, BotoCoreError) as error:
            raise sorted_error(operation, error) from error


def sorted_error(operation: str, error: ClientError | BotoCoreError) -> CallError:
    """The class of a failed call."""
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
    # AWS tells of a lack of instances by the code of a reached quota too: its words tell them apart.
    if code in _NO_CAPACITY or re.search("InsufficientInstanceCapacity|CapacityError", message):
        return NoCapacity
    if code in ("ResourceLimitExceeded", "ResourceLimitExceededException"):
        return QuotaReached
    # SageMaker tells of an unknown job by a ValidationException.
    unknown = code == "ValidationException" and re.search(r"could not find|not found", message, re.I)
    if code in _NOT_FOUND or status == 404 or unknown:
        return NotFound
    if code in ("304", "NotModified") or status == 304:
        return NotModified
    if _PASSING.search(code) or code in _UNAVAILABLE or status == 429 or status >= 500:
        return Transient
    return Refused
