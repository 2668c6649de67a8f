variable "name" {
  description = "Name of the environment's resources, such as rd-dev."
  type        = string
}

variable "enabled" {
  description = "Whether to create data sets and dashboard. The account must have a QuickSight subscription."
  type        = bool
}

variable "workgroup" {
  description = "Athena workgroup of the data source."
  type        = string
}

variable "database" {
  description = "Glue database of the views."
  type        = string
}

variable "views" {
  description = "Athena views that become data sets, by name."
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
