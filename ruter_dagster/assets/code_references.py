"""Links from an asset in Dagster's UI to its source code: the files of its definition and of its job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster import CodeReferencesMetadataValue, LocalFileCodeReference

from ruter_dagster.config.settings import Settings

_PACKAGE = Path(__file__).resolve().parents[1]


def code_references(key: str, job: str, settings: Settings) -> dict[str, Any]:
    """Dagster's metadata with the source files of an asset. The definition's module is named like the asset's group.

    Empty outside of the environment local: there, the code lies in an image that no editor opens.

    Dagster's `with_source_code_references` would show the same function for all assets, because one function runs every
    job. `link_code_references_to_git` needs the address of a repository, which differs by operator.
    """
    if settings.environment != "local":
        return {}
    files = {"definition": f"assets/{key.split('/')[0]}.py", "job": f"jobs/{job}.py"}
    references = [
        LocalFileCodeReference(file_path=str(_PACKAGE / file), line_number=1, label=label)
        for label, file in files.items()
    ]
    return {"dagster/code_references": CodeReferencesMetadataValue(code_references=list(references))}
