"""The deletion of model packages, which moto lacks."""

from __future__ import annotations

from moto.core.responses import EmptyResult
from moto.sagemaker.responses import SageMakerResponse


def patch_model_packages() -> None:
    """SageMaker: the operation `DeleteModelPackage`."""

    def delete_model_package(self: SageMakerResponse) -> EmptyResult:
        package = self.sagemaker_backend.describe_model_package(self._get_param("ModelPackageName"))
        del self.sagemaker_backend.model_packages[package.arn]
        return EmptyResult()

    SageMakerResponse.delete_model_package = delete_model_package  # type: ignore[attr-defined]
