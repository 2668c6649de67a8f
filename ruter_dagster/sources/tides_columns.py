"""Checks that a TIDES file has the columns that are required, and suggests renames if it has not."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources.tides_schema import TidesTable


def require_columns(path: str, table: TidesTable, present: Sequence[str]) -> None:
    """Raises `BadInput` if the file at `path` lacks a required column, or every accepted group of `one_of`."""
    missing = [column.name for column in table.columns if column.present and column.name not in present]
    if missing:
        raise BadInput(
            f"{path} lacks the column {', '.join(missing)} of TIDES' {table.name}; it has {', '.join(present)}"
            + _suggestions(missing, present, table)
        )
    if table.one_of and not any(_has_group(group, present) for group in table.one_of):
        accepted = ", or ".join(" and ".join(map(_in_words, group)) for group in table.one_of)
        wanted = [name for group in table.one_of for names in group for name in names.split("|")]
        raise BadInput(
            f"{path} has no passenger counts: TIDES' {table.name} needs {accepted}; "
            f"it has {', '.join(present)}{_suggestions(wanted, present, table)}"
        )


def _in_words(names: str) -> str:
    """Alternative columns, `|` between them, as `(boarding_1 or boarding_2)`."""
    return f"({names.replace('|', ' or ')})" if "|" in names else names


def _has_group(group: Sequence[str], present: Sequence[str]) -> bool:
    return all(any(name in present for name in names.split("|")) for names in group)


def _suggestions(missing: Sequence[str], present: Sequence[str], table: TidesTable) -> str:
    """Columns of the file that TIDES lacks and that look like a missing one, as the end of a message."""
    unknown = [name for name in present if name not in table.column_names]
    pairs = [(name, wanted) for wanted in missing for name in unknown if _is_similar(name, wanted)]
    return "".join(f". Rename {name} to {wanted} if it holds the same values" for name, wanted in pairs)


def _is_similar(name: str, wanted: str) -> bool:
    """Whether a name is part of the wanted one, as `load` of `departure_load`, or nearly spelt like it."""
    name = name.lower()
    return wanted.endswith(f"_{name}") or bool(get_close_matches(name, [wanted.lower()], cutoff=0.8))
