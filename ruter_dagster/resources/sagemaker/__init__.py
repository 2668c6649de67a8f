"""The launcher for SageMaker: settings of each job, requests, pools, events, and SageMaker Pipelines.

Code that knows nothing of this project's jobs does not belong here: it is in `dagster_sagemaker`.
"""
