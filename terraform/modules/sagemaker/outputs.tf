output "mlflow_arn" {
  description = "ARN of the tracking server that was created; null if there is none."
  value       = one(aws_sagemaker_mlflow_tracking_server.this[*].arn)
}

output "model_package_group" {
  description = "Name of the group of champions."
  value       = aws_sagemaker_model_package_group.this.model_package_group_name
}

output "pipelines" {
  description = "Names of the SageMaker pipelines."
  value       = [for pipeline in aws_sagemaker_pipeline.this : pipeline.pipeline_name]
}

output "studio_url" {
  description = "Address of the Studio domain; null if there is none."
  value       = one(aws_sagemaker_domain.this[*].url)
}

output "endpoint" {
  description = "Name of the endpoint; null if there is none."
  value       = one(aws_sagemaker_endpoint.this[*].name)
}
