"""Checks of certificate files before a library reads them: the library's errors name neither variable nor file."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from ruter_dagster.contracts.errors import SettingsError


def require_certificates(variable: str, path: str | Path) -> str:
    """Returns the path if it is a folder or a file with certificates.

    Raises:
        SettingsError: the file is missing, cannot be read, or has no certificate in PEM format.
    """
    where, remedy = (
        f"{variable}={path}",
        "or unset the variable if the system knows the certificate authority",
    )
    if Path(path).is_dir():
        return str(path)
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise SettingsError(
            f"{where}: the file has no certificate in PEM format. Name the file of the certificate authority, {remedy}."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{where}: the file cannot be read ({error.strerror}). Correct its path or rights, {remedy}."
        ) from None
    return str(path)


def require_named_certificates(variables: Iterable[str]) -> None:
    """Checks the files of those variables that are set."""
    for variable in variables:
        if path := os.environ.get(variable):
            require_certificates(variable, path)
