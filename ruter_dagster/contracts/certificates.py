"""Files of certificate authorities: read once before a library needs them, whose own errors name neither variable nor file."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from ruter_dagster.contracts.errors import SettingsError


def require_certificates(variable: str, path: str | Path) -> str:
    """The path, once its file, or a file of its folder, is known to hold certificates.

    Raises:
        SettingsError: there is no such file, it cannot be read, or it holds no certificate in PEM format.
    """
    where, remedy = (
        f"{variable}={path}",
        "or unset the variable where the system knows the certificate authority",
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
    """The same of those variables that are set."""
    for variable in variables:
        if path := os.environ.get(variable):
            require_certificates(variable, path)
