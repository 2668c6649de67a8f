"""Dagster Pipes clients for SageMaker Processing and Training jobs, usable in any Dagster project.

What is specific to one project, like `ruter_dagster`, does not belong here. The names in `__all__` are public; README.md describes them.
"""

from dagster_sagemaker.batch import JobEnd, JobEnds, JobRuns
from dagster_sagemaker.client import (
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
)
from dagster_sagemaker.jobs import Channel, InlineInput, Job, ProcessingJob, S3Input, S3Output, TrainingJob
from dagster_sagemaker.limits import LimitsExceeded, preflight
from dagster_sagemaker.outcomes import Ending, SageMakerJobFailed
from dagster_sagemaker.pacing import Clock, Pacing
from dagster_sagemaker.requests import create_request
from dagster_sagemaker.sensor import unawaited_jobs_sensor

__all__ = [
    "Channel",
    "Clock",
    "Ending",
    "InlineInput",
    "Job",
    "JobEnd",
    "JobEnds",
    "JobRuns",
    "LimitsExceeded",
    "Pacing",
    "PipesSageMakerProcessingClient",
    "PipesSageMakerTrainingClient",
    "ProcessingJob",
    "S3Input",
    "S3Output",
    "SageMakerJobFailed",
    "TrainingJob",
    "create_request",
    "preflight",
    "unawaited_jobs_sensor",
]
