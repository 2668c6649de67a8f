output "job_role_arns" {
  description = "ARNs of the jobs' roles by kind: tables, snapshot, model and publish."
  value       = { for kind, role in aws_iam_role.job : kind => role.arn }
}

output "role_of_job" {
  description = "ARN of the role by job, for jobs whose kind is not tables."
  value       = { for job, kind in local.kind_of_job : job => aws_iam_role.job[kind].arn }
}

output "orchestrator_role_arn" {
  description = "ARN of the role of Dagster's containers."
  value       = aws_iam_role.orchestrator.arn
}

output "execution_role_arn" {
  description = "ARN of the role with which ECS starts containers."
  value       = aws_iam_role.execution.arn
}

output "readable_policy" {
  description = "Policy, as JSON, with which another environment's files are read; without statements if there is none."
  value       = data.aws_iam_policy_document.readable.json
}
