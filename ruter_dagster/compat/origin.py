"""The origin of a run: the code location and repository of its job. The UI re-executes and counts only runs with an origin.

- `RemoteJobOrigin`, `RemoteRepositoryOrigin`, `RegisteredCodeLocationOrigin`: the origin that `dagster dev` gives to its runs.
- `SINGLETON_REPOSITORY_NAME`: the repository of a code location with one `Definitions`.
"""

from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

__all__ = [
    "SINGLETON_REPOSITORY_NAME",
    "RegisteredCodeLocationOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
]
