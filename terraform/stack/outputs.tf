output "dagster_url" {
  description = "Address of Dagster's UI."
  value       = module.dagster.url
}

output "lake" {
  description = "Prefix of tables, models and reports."
  value       = "s3://${module.storage.lake_bucket}/${local.lake_prefix}"
}

output "raw" {
  description = "Prefix to which raw counts and timetables are copied."
  value       = "s3://${local.raw_bucket}/${var.raw_prefix}"
}

output "database" {
  description = "Glue database of the tables."
  value       = module.catalog.database
}

output "workgroup" {
  description = "Athena workgroup."
  value       = module.catalog.workgroup
}

output "secret" {
  description = "Secret whose value a person sets: docs/deploy.md."
  value       = module.secrets.name
}

output "topic_prefix" {
  description = "Prefix of the environment's Kafka topics, which a teardown deletes."
  value       = local.variables["RUTER_KAFKA_TOPIC_PREFIX"]
}

output "quicksight_url" {
  description = "QuickSight's dashboard of forecasts and their accuracy; null without QuickSight."
  value       = one(module.bi[*].dashboard_url)
}

output "dashboard" {
  description = "CloudWatch dashboard."
  value       = module.observability.dashboard
}

output "cluster" {
  description = "ECS cluster of Dagster's containers and runs."
  value       = module.dagster.cluster
}

output "variables" {
  description = "Variables of Dagster's containers, for a smoke run elsewhere. No password is among them."
  value       = local.variables
}

output "applied" {
  description = "Branch, commit and images of the last apply, with which drift is detected."
  value       = { branch = var.branch, commit = var.commit, jobs_image = var.jobs_image, orchestrator_image = var.orchestrator_image }
}
