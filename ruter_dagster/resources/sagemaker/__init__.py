"""The launcher for SageMaker: settings of each job, requests, pools, events, and SageMaker Pipelines.

Code that is independent of this project's jobs belongs in `dagster_sagemaker`.
"""
