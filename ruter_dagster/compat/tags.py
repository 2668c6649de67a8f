"""Names of Dagster's tags on runs and materialisations. Dagster documents the tags but exports no constants for them.

A misspelt tag would be ignored silently, so that the constants are safer than their text.
"""

from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    CODE_LOCATION_TAG,
    GRPC_INFO_TAG,
    MAX_RETRIES_TAG,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    RESUME_RETRY_TAG,
    ROOT_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    TAGS_TO_MAYBE_OMIT_ON_RETRY,
    WILL_RETRY_TAG,
)

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "AUTO_RETRY_RUN_ID_TAG",
    "BACKFILL_ID_TAG",
    "CODE_LOCATION_TAG",
    "CODE_VERSION_TAG",
    "DATA_VERSION_TAG",
    "GRPC_INFO_TAG",
    "MAX_RETRIES_TAG",
    "PARENT_RUN_ID_TAG",
    "PARTITION_NAME_TAG",
    "RESUME_RETRY_TAG",
    "ROOT_RUN_ID_TAG",
    "RUN_FAILURE_REASON_TAG",
    "TAGS_TO_MAYBE_OMIT_ON_RETRY",
    "WILL_RETRY_TAG",
]
