output "state_bucket" {
  description = "Bucket of all Terraform states."
  value       = module.state.name
}

output "repository_arns" {
  description = "ARNs of the image repositories."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.arn }
}

output "repository_urls" {
  description = "Addresses of the image repositories."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "ci_role_arns" {
  description = "Roles of GitLab CI: sandbox, plan and deploy."
  value       = { for name, role in aws_iam_role.ci : name => role.arn }
}

output "sandbox_boundary_arn" {
  description = "Boundary of all roles of sandboxes."
  value       = aws_iam_policy.sandbox_boundary.arn
}
