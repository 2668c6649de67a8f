output "url" {
  description = "Address of Dagster's UI."
  value       = local.url
}

output "cluster" {
  description = "ECS cluster of Dagster's containers and runs."
  value       = aws_ecs_cluster.this.name
}

output "services" {
  description = "Names of the ECS services."
  value       = [for service in aws_ecs_service.this : service.name]
}

output "log_groups" {
  description = "Log group by container, and of runs."
  value       = { for key, group in aws_cloudwatch_log_group.this : key => group.name }
}

output "database" {
  description = "Identifier of the database."
  value       = aws_db_instance.this.identifier
}

output "load_balancer" {
  description = "Name of the load balancer in CloudWatch's metrics."
  value       = aws_lb.this.arn_suffix
}

output "target_group" {
  description = "Name of the webserver's target group in CloudWatch's metrics."
  value       = aws_lb_target_group.web.arn_suffix
}
