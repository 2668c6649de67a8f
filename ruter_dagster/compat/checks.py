"""Results of asset checks in the event log.

- `AssetCheckExecutionRecordStatus`: selects the results of a check by status. The public API has no query of check results.
- `DagsterAssetCheckFailedError`: its class name marks a step that a blocking check stopped. Dagster does not export it.
"""

from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

__all__ = ["AssetCheckExecutionRecordStatus", "DagsterAssetCheckFailedError"]
