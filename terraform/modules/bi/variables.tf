variable "name" {
  description = "Name of the environment's resources, such as rd-dev."
  type        = string
}

variable "workgroup" {
  description = "Athena workgroup of the data source."
  type        = string
}

variable "database" {
  description = "Glue database of the views and of their tables."
  type        = string
}

variable "lake_arn" {
  description = "ARN of the lake's bucket."
  type        = string
}

variable "lake_prefix" {
  description = "Prefix of the tables in the lake."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts the tables and Athena's results."
  type        = string
}

variable "readable_policy" {
  description = "Policy, as JSON, that reads files of another environment, to which tables of a sandbox refer."
  type        = string
}

variable "permissions_boundary" {
  description = "ARN of the boundary of all roles; null if there is none."
  type        = string
}

variable "views" {
  description = "Athena views that become data sets, by name, as `ruter-dagster athena-views` writes them."
  type = map(object({
    description = string
    sql         = string
    import_mode = string
    columns     = list(object({ name = string, presto_type = string, hive_type = string }))
  }))
}

variable "definition" {
  description = "Definition of the dashboard as JSON, as `ruter-dagster quicksight-definition` writes it."
  type        = string
}

variable "readers_arn" {
  description = "ARN of the QuickSight group that sees the dashboard."
  type        = string
}

variable "spice" {
  description = "Whether data sets hold a copy of small views, refreshed once a day. If false, each chart asks Athena."
  type        = bool
}

variable "refresh_at" {
  description = "Local time of the daily refresh, HH:MM: after the truth of the day before has arrived."
  type        = string
  default     = "07:00"
}

variable "time_zone" {
  description = "Time zone of the refresh."
  type        = string
  default     = "Europe/Oslo"
}
