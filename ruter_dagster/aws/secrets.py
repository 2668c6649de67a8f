"""Reads the secret of Secrets Manager that holds passwords and tokens. Its values stay in memory and are printed nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.errors import code_of, first_line, remedy_of
from ruter_dagster.contracts.errors import PermanentFailure

_UNUSABLE = ("ResourceNotFoundException", "InvalidRequestException", "DecryptionFailure")


@cache
def secret_values(name: str, region: str | None) -> Mapping[str, str]:
    """Entries of a secret, which is one JSON object of strings. Each process reads it once.

    Raises:
        PermanentFailure: The secret does not exist, is not readable, or is not a JSON object of strings.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = client("secretsmanager", region).get_secret_value(SecretId=name).get("SecretString", "")
    except (BotoCoreError, ClientError) as error:
        remedy = remedy_of(error)
        if code_of(error) in _UNUSABLE:
            remedy = "Create it in Secrets Manager, in this region, or correct RUTER_SECRETS."
        if remedy is None:
            raise
        raise PermanentFailure(
            f"The secret {name} (RUTER_SECRETS) cannot be read: {first_line(error)}. {remedy}"
        ) from None
    try:
        entries = json.loads(text)
    except ValueError:
        entries = None
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise PermanentFailure(
            f"The secret {name} (RUTER_SECRETS) must be a JSON object with a string for each variable, such as "
            '{"RUTER_KAFKA_SASL_PASSWORD": "…"}.'
        )
    return entries
