"""What moto lacks for a sandbox's teardown."""

from __future__ import annotations

from moto.core.responses import EmptyResult
from moto.s3.models import FakeDeleteMarker
from moto.sagemaker.responses import SageMakerResponse


def patch_all() -> None:
    patch_model_packages()
    _delete_markers_of_suspended_buckets()


def patch_model_packages() -> None:
    """SageMaker: the operation `DeleteModelPackage`."""

    def delete_model_package(self: SageMakerResponse) -> EmptyResult:
        package = self.sagemaker_backend.describe_model_package(self._get_param("ModelPackageName"))
        del self.sagemaker_backend.model_packages[package.arn]
        return EmptyResult()

    SageMakerResponse.delete_model_package = delete_model_package  # type: ignore[attr-defined]


def _delete_markers_of_suspended_buckets() -> None:
    """S3: moto fails on a delete marker once versioning is suspended, as Terraform does before it empties a bucket."""
    FakeDeleteMarker.dispose = lambda _self: None  # type: ignore[attr-defined]
