"""Components for `dg`: a SageMaker job that is declared in YAML. `import dagster_sagemaker` does not import them.

The supervision of jobs does not belong here.
"""

from dagster_sagemaker.components.job_component import ProcessingJobComponent, TrainingJobComponent

__all__ = ["ProcessingJobComponent", "TrainingJobComponent"]
