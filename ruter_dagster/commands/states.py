"""The states that commands name: a folder, an environment, or a Glue database. They are only read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ruter_dagster.config.settings import ENVIRONMENTS, SANDBOX, Settings
from ruter_dagster.contracts.errors import PermanentFailure
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
    if settings.lake_dir is None or not (is_environment(name) or _DATABASE.fullmatch(name)):
        raise PermanentFailure(
            f"There is no state {name}. Name the folder of another state, such as state/demo. "
            "With RUTER_LAKE, the name of an environment or of a Glue database is also possible"
        )
    database = database_of(settings, name)
    return NamedState(name, open_tables(settings.model_copy(update={"glue_database": database})))


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
