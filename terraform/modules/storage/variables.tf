variable "name" {
  description = "Name of the environment's resources, such as rd-dev."
  type        = string
}

variable "protected" {
  description = "Whether data outlives a destroy."
  type        = bool
}

variable "lake_prefix" {
  description = "Prefix in the lake of this environment and source, without slashes at its ends."
  type        = string
}

variable "create_raw_bucket" {
  description = "Whether to create a bucket for raw counts and timetables. False if they already have one."
  type        = bool
}

variable "log_days" {
  description = "Days that the output of Dagster's steps is kept."
  type        = number
}
