variable "name" {
  description = "Name of the environment's resources, such as rd-dev."
  type        = string
}

variable "protected" {
  description = "Whether data outlives a destroy."
  type        = bool
}

variable "lake_bucket" {
  description = "Bucket of the lake."
  type        = string
}

variable "lake_prefix" {
  description = "Prefix of this environment and source in the lake."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of volumes and files."
  type        = string
}

variable "pipeline_definitions" {
  description = "Definitions of SageMaker pipelines as JSON, by name, as `ruter-dagster pipeline-definition` writes them."
  type        = map(string)
}

variable "feature_group" {
  description = "Whether to create a feature group."
  type        = bool
}

variable "features" {
  description = "Columns of the feature group: Integral, Fractional or String by name."
  type        = map(string)
}

variable "create_mlflow" {
  description = "Whether to create an MLflow tracking server."
  type        = bool
}

variable "studio" {
  description = "Whether to create a Studio domain."
  type        = bool
}

variable "endpoint" {
  description = "Image, model archive and instance type of an endpoint; null for none. Forecasts need no endpoint."
  type        = object({ image = string, model_data_url = string, instance_type = string })
}

variable "vpc_id" {
  description = "Network of the environment."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of jobs, Studio and the endpoint."
  type        = string
}

variable "lake_arn" {
  description = "ARN of the lake's bucket."
  type        = string
}

variable "job_role_arns" {
  description = "Roles that pipelines, Studio and the endpoint give to jobs."
  type        = list(string)
}

variable "permissions_boundary" {
  description = "ARN of the boundary of all roles; null if there is none."
  type        = string
}
