"""Reads the one secret of Secrets Manager that holds passwords and tokens. Its values are kept in memory, and told nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.errors import code_of, first_line, remedy_of
from ruter_dagster.contracts.errors import PermanentFailure

_GONE = ("ResourceNotFoundException", "InvalidRequestException", "DecryptionFailure")


@cache
def secret_values(name: str, region: str | None) -> Mapping[str, str]:
    """The entries of a secret that is one JSON object of texts; read once by a process.

    Raises:
        PermanentFailure: there is no such secret, this process may not read it, or it is no such object.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = client("secretsmanager", region).get_secret_value(SecretId=name).get("SecretString", "")
    except (BotoCoreError, ClientError) as error:
        remedy = remedy_of(error)
        if code_of(error) in _GONE:
            remedy = "Make it in Secrets Manager, in this region, or correct RUTER_SECRETS."
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
            f"The secret {name} (RUTER_SECRETS) must be a JSON object of texts by variable, such as "
            '{"RUTER_KAFKA_SASL_PASSWORD": "…"}.'
        )
    return entries
