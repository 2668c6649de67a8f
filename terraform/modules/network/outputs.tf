output "vpc_id" {
  description = "Network of the environment."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "Addresses of the network."
  value       = aws_vpc.this.cidr_block
}

output "private_subnet_ids" {
  description = "Subnets of jobs, Dagster and the database."
  value       = [for subnet in aws_subnet.private : subnet.id]
}

output "public_subnet_ids" {
  description = "Subnets of the load balancer."
  value       = [for subnet in aws_subnet.public : subnet.id]
}

output "jobs_security_group_id" {
  description = "Security group of SageMaker jobs."
  value       = aws_security_group.jobs.id
}
