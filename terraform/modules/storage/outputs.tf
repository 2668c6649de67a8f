output "lake_bucket" {
  description = "Bucket of tables, models and reports."
  value       = module.lake.name
}

output "lake_arn" {
  description = "ARN of the lake's bucket."
  value       = module.lake.arn
}

output "raw_bucket" {
  description = "Bucket of raw data that was created here; null if there is another."
  value       = one(module.raw[*].name)
}

output "logs_bucket" {
  description = "Bucket of the output of Dagster's steps."
  value       = module.logs.name
}

output "logs_arn" {
  description = "ARN of the bucket of logs."
  value       = module.logs.arn
}

output "kms_key_arn" {
  description = "Key of data, queues, logs and secrets."
  value       = aws_kms_key.this.arn
}
