"""References to a Dagster instance.

- `InstanceRef`: opens an instance whose settings and data lie in different folders, and carries it to another process.
- `ConfigurableClassData`: what `dagster.yaml` says about a class that it names; Dagster passes it to the class.
"""

from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

__all__ = ["ConfigurableClassData", "InstanceRef"]
