variable "region" {
  description = "AWS region of all environments of this account."
  type        = string
  default     = "eu-north-1"
}

variable "gitlab_url" {
  description = "Address of GitLab, such as https://gitlab.com."
  type        = string

  validation {
    condition     = can(regex("^https://[^/]+$", var.gitlab_url))
    error_message = "An address such as https://gitlab.example.org, without a slash at its end."
  }
}

variable "gitlab_project" {
  description = "Path of the project in GitLab, such as group/ruter-dagster."
  type        = string
}

variable "environments" {
  description = "Environments of this account. Prod should have an account of its own."
  type        = list(string)
  default     = ["dev", "test", "stage", "prod"]
}

variable "sandboxes" {
  description = "Whether branches may make sandboxes in this account. False in an account for prod alone."
  type        = bool
  default     = true
}

variable "deploy_branches" {
  description = "Protected branches whose pipelines may deploy the environments."
  type        = list(string)
  default     = ["main"]

  validation {
    condition     = alltrue([for branch in var.deploy_branches : !strcontains(branch, "*")])
    error_message = "Name each branch: with a pattern, any branch could deploy."
  }
}

variable "readable_buckets" {
  description = "Buckets of this account that sandboxes may read: prod's lake, and the bucket of raw data if it is not created here."
  type        = list(string)
  default     = []
}

variable "readable_environment" {
  description = "Environment to which `readable_buckets` belong: its Glue database and its key."
  type        = string
  default     = "prod"
}

variable "sandbox_mlflow_arns" {
  description = "MLflow servers or apps of SageMaker that sandboxes may write to, such as dev's. Without one, sandboxes record trainings in Dagster only."
  type        = list(string)
  default     = []
}

variable "image_readers" {
  description = "Ids of other accounts that run the images of this one, such as prod's."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for account in var.image_readers : can(regex("^[0-9]{12}$", account))])
    error_message = "An account's id has 12 digits."
  }
}

variable "log_days" {
  description = "Days that logs of SageMaker's jobs are kept, for all environments of this account."
  type        = number
  default     = 365

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365], var.log_days)
    error_message = "CloudWatch keeps logs 7, 14, 30, 60, 90, 180 or 365 days."
  }
}
