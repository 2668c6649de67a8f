"""AWS clients, queues, secrets, object stores and the errors of AWS that a retry does not fix.

The supervision of SageMaker jobs does not belong here: it is in `resources/sagemaker` and `dagster_sagemaker`.
"""
