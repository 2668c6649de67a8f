"""References to a Dagster instance.

- `InstanceRef`: opens an instance whose settings and data are in different folders, and passes it to another process.
- `ConfigurableClassData`: what `dagster.yaml` says about a class that it names; Dagster passes it to the class.
"""

from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

__all__ = ["ConfigurableClassData", "InstanceRef"]
