output "state_bucket" {
  description = "Bucket of all Terraform states."
  value       = module.state.name
}

output "repository_arns" {
  description = "ARNs of the image repositories, as the variable repository_arns of the stack expects them."
  value       = { jobs = aws_ecr_repository.this["jobs"].arn, orchestrator = aws_ecr_repository.this["dagster"].arn }
}

output "repository_urls" {
  description = "Addresses of the image repositories."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "ci_role_arns" {
  description = "Roles of GitLab CI: plan and deploy, and sandbox if there are sandboxes."
  value       = { for name, role in aws_iam_role.ci : name => role.arn }
}

output "sandbox_boundary_arn" {
  description = "Boundary of all roles of sandboxes; null without sandboxes."
  value       = one(aws_iam_policy.sandbox_boundary[*].arn)
}

output "gitlab_variables" {
  description = "CI/CD variables of the GitLab project that follow from this root."
  value = { for name, value in {
    AWS_REGION             = var.region
    STATE_BUCKET           = module.state.name
    ECR_REGISTRY           = split("/", aws_ecr_repository.this["ci"].repository_url)[0]
    SANDBOX_ROLE_ARN       = try(aws_iam_role.ci["sandbox"].arn, null)
    PLAN_ROLE_ARN          = aws_iam_role.ci["plan"].arn
    DEPLOY_ROLE_ARN        = aws_iam_role.ci["deploy"].arn
    SANDBOX_BOUNDARY_ARN   = one(aws_iam_policy.sandbox_boundary[*].arn)
    TF_VAR_repository_arns = jsonencode({ jobs = aws_ecr_repository.this["jobs"].arn, orchestrator = aws_ecr_repository.this["dagster"].arn })
  } : name => value if value != null }
}
