"""The states that commands name: a folder, an environment, a Glue database, or a branch. They are only read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ruter_dagster.config.settings import ENVIRONMENTS, Settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import SANDBOX, sandbox_id
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.storage.configured_tables import open_tables, open_tables_in
from ruter_dagster.storage.tables import TableStore

_DATABASE = re.compile(r"[a-z0-9_]{1,255}")


@dataclass(frozen=True)
class NamedState:
    """Another state: its name in notes, its tables, and its folder, which is None for a Glue database."""

    label: str
    store: TableStore
    folder: Path | None = None

    @property
    def source(self) -> str:
        """The folder or the Glue database. It is the same however a person names the state, and `find_state` takes it too."""
        return str(self.folder.resolve() if self.folder else self.store.database)


def find_state(settings: Settings, name: str) -> NamedState:
    """The state that `name` means. Raises `PermanentFailure` if there is none."""
    if folder := next(filter(Path.is_dir, _folders(settings, name)), None):
        # Not the whole path, which is of interest on this machine only.
        label = name if is_environment(name) else "/".join(folder.parts[-2:])
        return NamedState(label, open_tables_in(folder), folder)
    state = None if settings.lake_dir is None else _lake_state(settings, name)
    if state is None:
        raise PermanentFailure(
            f"There is no state {name}. Name the folder of another state, such as state/demo. "
            "With RUTER_LAKE, the name of an environment, of a Glue database or of a branch with a sandbox is also possible"
        )
    return state


def _lake_state(settings: Settings, name: str) -> NamedState | None:
    """The environment or the Glue database of this name, or else the sandbox of this branch, if it has forecasts."""
    named = None
    if is_environment(name) or _DATABASE.fullmatch(name):
        named = _glue_state(settings, name, name)
        if is_environment(name) or _has_forecasts(named):
            return named
    try:
        sandbox = _glue_state(settings, name, sandbox_id(name))
    except PermanentFailure:
        return named
    return sandbox if _has_forecasts(sandbox) else named


def _glue_state(settings: Settings, label: str, name: str) -> NamedState:
    database = database_of(settings, name)
    return NamedState(label, open_tables(settings.model_copy(update={"glue_database": database})))


def _has_forecasts(state: NamedState) -> bool:
    """False also if they must not be read: the name may mean another state."""
    try:
        return state.store.load(LOAD_FORECASTS) is not None
    except PermanentFailure:
        return False


def database_of(settings: Settings, name: str) -> str:
    """The Glue database of this name, or of the environment: named as the own one, `rd_prod` beside `rd_s_mybranch_1a2b3c`."""
    if not is_environment(name):
        return name
    own, other = (environment.replace("-", "_") for environment in (settings.environment, name))
    database, replaced = re.subn(rf"(?<![a-z0-9]){own}(?![a-z0-9])", other, settings.database, count=1)
    if not replaced:
        raise PermanentFailure(
            f"The own Glue database {settings.database} is not named after the environment {settings.environment}, so that of "
            f"{name} is unknown. Name the database instead"
        )
    return database


def is_environment(name: str) -> bool:
    return name in ENVIRONMENTS or SANDBOX.fullmatch(name) is not None


def _folders(settings: Settings, name: str) -> list[Path]:
    """The folders that `name` can mean: a state, a folder of states with this source, or an environment without a lake."""
    path = Path(name).expanduser().absolute()
    folders = [path if (path / "warehouse").is_dir() else path / settings.source_name]
    if settings.lake_dir is None and is_environment(name):
        folders.append(settings.model_copy(update={"environment": name}).source_dir)
    return folders
