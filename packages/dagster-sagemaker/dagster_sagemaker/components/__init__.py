"""Components for `dg`: a SageMaker job that is declared in YAML. `import dagster_sagemaker` does not import them.

The supervision of jobs does not belong here: components use the public names of `dagster_sagemaker` alone.
"""

from dagster_sagemaker.components.job_component import ProcessingJobComponent, TrainingJobComponent

__all__ = ["ProcessingJobComponent", "TrainingJobComponent"]
