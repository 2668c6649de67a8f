variable "name" {
  description = "Name of the environment's resources, and prefix of its jobs, such as rd-dev."
  type        = string
}

variable "lake_arn" {
  description = "ARN of the lake's bucket."
  type        = string
}

variable "lake_prefix" {
  description = "Prefix of this environment and source in the lake."
  type        = string
}

variable "logs_arn" {
  description = "ARN of the bucket of logs."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of data, queues, logs and secrets."
  type        = string
}

variable "database" {
  description = "Glue database of the tables."
  type        = string
}

variable "workgroup" {
  description = "Athena workgroup."
  type        = string
}

variable "raw_bucket" {
  description = "Bucket of raw data."
  type        = string
}

variable "raw_prefix" {
  description = "Prefix of raw data in its bucket."
  type        = string
}

variable "warehouse" {
  description = "Glue database, bucket and prefix of raw data behind Athena; null without a warehouse."
  type        = object({ database = string, bucket = string, prefix = string })
}

variable "readable_environment" {
  description = "Another environment whose tables jobs read, by name and buckets, as a sandbox reads prod's; null for none."
  type        = object({ name = string, buckets = list(string) })
}

variable "mlflow_arn" {
  description = "ARN of SageMaker's MLflow, a tracking server or an app; null if MLflow is elsewhere."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of jobs."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of jobs."
  type        = string
}

variable "queue_arns" {
  description = "ARNs of the queues of events."
  type        = list(string)
}

variable "jobs_repository_arn" {
  description = "ARN of the repository of the jobs' images."
  type        = string
}

variable "orchestrator_repository_arn" {
  description = "ARN of the repository of Dagster's images."
  type        = string
}

variable "permissions_boundary" {
  description = "ARN of the boundary of all roles; null if there is none."
  type        = string
}
