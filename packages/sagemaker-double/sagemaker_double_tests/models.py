"""What the installed botocore knows of SageMaker: tests of newer fields are skipped with an older one."""

from __future__ import annotations

import pytest

from sagemaker_double.limits import service_model

needs_preferences = pytest.mark.skipif(
    "InstancePreferences" not in service_model().shape_for("ResourceConfig").members,  # type: ignore[attr-defined]
    reason="the installed botocore is older than InstancePreferences",
)
