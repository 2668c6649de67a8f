"""The pages of docs/ that follow from the code: settings, tables, quality checks, columns of the input. `python scripts/reference.py` writes them.

`tests/test_docs.py` fails where a page differs from what the code says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ruter_dagster.config.sagemaker import SageMakerSettings
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.checks import CHECKED_TABLES, CHECKS, NO_DATE_BLOCKED, Check
from ruter_dagster.contracts.drift import DRIFT_METRICS, DriftMetric
from ruter_dagster.contracts.model_checks import GATE_CHECKS
from ruter_dagster.contracts.tables import Column, Table
from ruter_dagster.sources.gtfs_vocabulary import GTFS_FILES, GtfsFile
from ruter_dagster.sources.tides_vocabulary import (
    STOP_VISITS as TIDES_STOP_VISITS,
)
from ruter_dagster.sources.tides_vocabulary import (
    TRIPS_PERFORMED,
    VEHICLES,
    TidesColumn,
    TidesTable,
)

DOCS = Path(__file__).parents[1] / "docs"
READ_WITH_POLARS = """## Read a table into polars

The settings of the environment and of `.env` choose the source, as for every command. Each table has a constant in
`ruter_dagster.contracts.tables` (`features` for `features.*`). `dates()` lists the dates of its partition:

```python
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.storage.open import open_tables

table = open_tables(load_settings()).snapshot(LOAD_FORECASTS)
forecasts = table.read(table.dates()[-1:])  # a polars DataFrame: the newest issue date
```

`ruter-dagster forecasts` shows load forecasts in the terminal."""
WRITTEN = "<!-- Written by scripts/reference.py: change the code that it names, then run it. -->"


def settings_page() -> str:
    """Every variable that is read, with its default, what is allowed and what it means."""
    own = [name for name in Settings.model_fields if name not in SageMakerSettings.model_fields]
    return _page(
        "Settings",
        "Read once from the environment and from `.env` in the working folder (`RUTER_ENV_FILE` names another file, or, empty, none), "
        "and validated before anything runs; the "
        "environment wins. What an operator is (country, time zone, holidays, events, occupancy thresholds) stands in an "
        "operator file instead: `ruter_dagster/config/operators/ruter.toml` shows every key. Defined in `ruter_dagster/config/`.",
        _settings(own),
        "## In AWS\n\nCredentials and endpoints come from the usual `AWS_*` variables.\n\n"
        + _settings(SageMakerSettings.model_fields),
    )


def _settings(names: Iterable[str]) -> str:
    rows = [
        (f"`{variable(name)}`", _default(field), _allowed(field), field.description or "")
        for name, field in Settings.model_fields.items()
        if name in names
    ]
    return _table(("Variable", "Default", "Allowed", "Meaning"), rows)


def tables_page() -> str:
    """Every table: partition, key, columns and rules."""
    return _page(
        "Tables",
        "Iceberg tables in `warehouse` of the source's state folder, or of its part of the lake. A write replaces whole dates of the partition, in one commit, "
        "after every row was checked against what stands here. `date` is a service date in the operator's time zone, "
        "`timestamp` microseconds in UTC. Defined in `ruter_dagster/contracts/`.",
        READ_WITH_POLARS,
        *(_of_table(table) for table in TABLES),
    )


def checks_page() -> str:
    """Every quality check, the release gate and the drift metrics."""
    gate = [(f"`{check.name}`", check.severity, check.description) for check in GATE_CHECKS]
    drift = [
        (f"`{metric.name}`", metric.description, f"{metric.warn:g}", _act(metric)) for metric in DRIFT_METRICS
    ]
    return _page(
        "Checks",
        "ERROR refuses a date to every reader, or keeps a model from becoming champion; WARN only shows. How they work "
        "together: [quality.md](quality.md). Defined in `ruter_dagster/contracts/checks.py`, `model_checks.py` and `drift.py`.",
        *(_of_checks(table) for table in CHECKED_TABLES),
        "## raw/stop_visits\n\n" + _checks_table((NO_DATE_BLOCKED,)),
        "## models/evaluation\n\n" + _table(("Check", "Severity", "Meaning"), gate),
        "## monitoring/drift\n\nA metric warns, and asks for a training, beyond its thresholds; it never blocks.\n\n"
        + _table(("Metric", "Meaning", "Warns", "Acts"), drift),
    )


def columns_page() -> str:
    """Every TIDES and GTFS column: required, used if present, or ignored."""
    return _page(
        "TIDES and GTFS columns",
        "Which columns does my data need? *Required*: without the column, the file is refused. *Used*: the column may be missing "
        "or have empty cells. *Ignored*: the column is not read. Columns that no list names are ignored too. Defined in "
        "`ruter_dagster/sources/tides_vocabulary.py` and `gtfs_vocabulary.py`.",
        "## TIDES\n\nEach table is `<table>.csv`, `<table>.parquet`, or a folder `<table>/` of such files.",
        *(_tides_table(table) for table in (TIDES_STOP_VISITS, TRIPS_PERFORMED, VEHICLES)),
        "Without `vehicles`, or for a vehicle that it lacks, seats and capacity are unknown: the occupancy level is `unknown`, the "
        "probability above the seats is null, and the check `few_unknown_seats` warns. `[capacities]` in the operator file gives "
        "the planned departures default capacities by mode and line:\n\n"
        '```toml\n[capacities.modes]\nbus = { seats = 36, total = 75 }\n[capacities.lines]\n"31" = { seats = 52, total = 110 }\n```',
        "## GTFS\n\nFiles that are not listed here are ignored.",
        *(_gtfs_file(file) for file in GTFS_FILES),
    )


def _tides_table(table: TidesTable) -> str:
    presence = "The folder may lack this table." if table.optional else "This table is required."
    groups = ", or ".join(
        " and ".join(f"({names})" if "|" in names else names for names in group) for group in table.one_of
    ).replace("|", " or ")
    one_of = f" A file also needs passenger counts: {groups}." if groups else ""
    rows = [(f"`{column.name}`", _column_use(column), _column_values(column)) for column in table.columns]
    return (
        f"### {table.name}\n\n{presence}{one_of}\n\n"
        + _table(("Column", "Use", "Values"), rows)
        + f"\n\nIgnored: {_names(table.ignored)}."
    )


def _column_use(column: TidesColumn) -> str:
    if not column.present:
        return "used"
    return "required, a value in every row" if column.filled else "required"


def _column_values(column: TidesColumn) -> str:
    if column.allowed:
        return ", ".join(column.allowed)
    return column.kind if column.minimum is None else f"{column.kind}, at least {column.minimum}"


def _gtfs_file(file: GtfsFile) -> str:
    uses = (("Required", file.required), ("Used", file.optional), ("Ignored", file.ignored))
    lines = [f"- {use}: {_names(columns)}" for use, columns in uses if columns]
    presence = file.presence[0].upper() + file.presence[1:]
    return f"### {file.name}\n\nPresence: {presence}.\n\n" + "\n".join(lines)


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "tables.md": tables_page,
    "checks.md": checks_page,
    "tides-and-gtfs-columns.md": columns_page,
}


def variable(name: str) -> str:
    """The environment variable of a field of Settings."""
    alias = Settings.model_fields[name].validation_alias
    choices = getattr(alias, "choices", None)
    return str(choices[0]) if choices else f"RUTER_{name.upper()}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value in (None, PydanticUndefined) or value == {} else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    said = field.json_schema_extra
    if isinstance(said, dict) and "allowed" in said:
        return str(said["allowed"])
    choices = [*_choices(field.annotation)]
    if choices:
        return ", ".join(choices)
    low, high, pattern = (_limit(field, name) for name in ("ge", "le", "pattern"))
    if pattern:
        return f"`{pattern}`"
    if low is not None and high is not None:
        return f"{low} to {high}"
    return "" if low is None else f"at least {low}"


def _limit(field: FieldInfo, name: str) -> Any:
    return next((getattr(rule, name) for rule in field.metadata if hasattr(rule, name)), None)


def _choices(annotation: Any) -> Iterable[str]:
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
        return
    for part in get_args(annotation):
        yield from _choices(part)


def _of_table(table: Table) -> str:
    rows = [
        (
            f"`{column.name}`",
            column.type,
            "" if column.required else "may be null",
            _range(column),
            column.description,
        )
        for column in table.columns
    ]
    rules = "".join(f"\n- `{rule.name}`: {rule.description}. `{rule.expression}`" for rule in table.rules)
    empty = " May be empty." if table.may_be_empty else ""
    return (
        f"## {table.name}\n\n{table.description}{empty}\n\nPartition `{table.partition}`, key "
        f"`{', '.join(table.key)}`.\n\n"
        + _table(("Column", "Type", "Null", "Allowed", "Meaning"), rows)
        + (f"\n\nRules of a row:\n{rules}" if rules else "")
    )


def _range(column: Column) -> str:
    if column.allowed:
        return ", ".join(column.allowed)
    if column.minimum is None:
        return ""
    return (
        f"at least {column.minimum:g}"
        if column.maximum is None
        else f"{column.minimum:g} to {column.maximum:g}"
    )


def _of_checks(table: Table) -> str:
    return f"## {table.name}\n\n" + _checks_table(CHECKS[table.name])


def _checks_table(checks: Iterable[Check]) -> str:
    rows = [(f"`{check.name}`", check.severity, check.description, check.expected) for check in checks]
    return _table(("Check", "Severity", "Meaning", "Expected"), rows)


def _act(metric: DriftMetric) -> str:
    if metric.act is None:
        return "never"
    running = f" on {metric.days_to_act} dates running" if metric.days_to_act > 1 else ""
    return f"{metric.act:g}{running}"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _page(title: str, about: str, *sections: str) -> str:
    return "\n\n".join((f"# {title}", WRITTEN, about, *sections)) + "\n"


if __name__ == "__main__":
    for file, page in PAGES.items():
        (DOCS / file).write_text(page())
