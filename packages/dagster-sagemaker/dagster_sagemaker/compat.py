"""Every private name of Dagster that this package relies on. Nothing else belongs here.

- `ROOT_RUN_ID_TAG`: the tag that groups a run and its retries; Dagster exports no constants for its tags.
- `BaseDirectExecutionContext`: the kind of context that a unit test passes to an asset, outside of any run.
- `EngineEventData`: metadata of an engine event, which a run's log shows with its links.
- `TreatAsResourceParam`: lets assets take a client as a resource, as Dagster's own Pipes clients do.
- `build_external_execution_context_data`: context of a session that is not opened, for a job without Pipes.
- `capture_interrupts`: delays an interrupt until jobs were stopped.
"""

from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from dagster._core.events import EngineEventData
from dagster._core.execution.context.invocation import BaseDirectExecutionContext
from dagster._core.pipes.context import build_external_execution_context_data
from dagster._core.storage.tags import ROOT_RUN_ID_TAG
from dagster._utils.interrupts import capture_interrupts

__all__ = [
    "ROOT_RUN_ID_TAG",
    "BaseDirectExecutionContext",
    "EngineEventData",
    "TreatAsResourceParam",
    "build_external_execution_context_data",
    "capture_interrupts",
]
