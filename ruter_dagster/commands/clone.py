"""`ruter-dagster clone`: this state starts from the tables and models of another one, at pinned snapshots."""

from __future__ import annotations

from ruter_dagster.commands.states import NamedState, find_state
from ruter_dagster.config.settings import Settings
from ruter_dagster.config.state_folder import require_writable_state
from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import SANDBOX
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.clones import Clone, clone_state, cloned_from
from ruter_dagster.storage.configured_tables import open_tables
from ruter_dagster.storage.tables import TableStore


def clone(settings: Settings, name: str, replace: bool = False) -> Clone:
    """Replaces the tables of this state with those of the state `name`, which is only read.

    Raises `PermanentFailure` if this state belongs to a shared environment, if it is the state `name` itself, or if it has tables
    of its own and `replace` is false.
    """
    if settings.environment != "local" and not SANDBOX.fullmatch(settings.environment):
        raise PermanentFailure(
            f"The environment {settings.environment} keeps its own tables. Clone into a branch's sandbox, or into a local state"
        )
    source = find_state(settings, name)
    _require_other_state(settings, source)
    if settings.lake is None:
        require_writable_state(settings)
    target = open_tables(settings)
    if not replace:
        _require_replaceable(settings, target)
    artifacts = ArtifactStore.at(settings.artifacts_location, settings.aws_region)
    return clone_state(source.store, target, artifacts, settings.aws_region, source.source)


def describe(clone: Clone, name: str) -> str:
    """What a clone of the state `name` consists of, in two sentences."""
    return (
        f"Cloned {len(clone.snapshots)} tables of {name} at their newest snapshots, with {clone.verdicts:,} verdicts and "
        f"{clone.models} model versions. Forecasts are pinned at snapshot {clone.snapshots[LOAD_FORECASTS.name]}"
    )


def _require_other_state(settings: Settings, source: NamedState) -> None:
    """Raises `PermanentFailure` if the source is this state: replacing its tables would drop them."""
    own_folder = source.folder is not None and source.folder.resolve() == settings.source_dir.resolve()
    if own_folder or (source.folder is None and source.store.database == settings.database):
        raise PermanentFailure(
            f"{source.label} is this state itself. Set another one, for instance RUTER_STATE_DIR=state/try"
        )


def _require_replaceable(settings: Settings, target: TableStore) -> None:
    """Raises `PermanentFailure` if a table is not a clone."""
    own = [
        table.name for table in TABLES if target.load(table) is not None and not cloned_from(target, table)
    ]
    if own:
        place = settings.database if settings.lake_dir else settings.source_dir
        raise PermanentFailure(
            f"{place} has tables of its own, for instance {own[0]}. Set an empty state, for instance RUTER_STATE_DIR=state/try, or "
            "use --replace to drop them"
        )
