"""Components for `dg`: a SageMaker job that is declared in YAML. `import dagster_sagemaker` does not import them."""

from dagster_sagemaker.components.job_component import ProcessingJobComponent, TrainingJobComponent

__all__ = ["ProcessingJobComponent", "TrainingJobComponent"]
