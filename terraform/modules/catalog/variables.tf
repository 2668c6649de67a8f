variable "name" {
  description = "Name of the environment's resources, such as rd-dev."
  type        = string
}

variable "lake_bucket" {
  description = "Bucket of the tables and of Athena's results."
  type        = string
}

variable "lake_prefix" {
  description = "Prefix of this environment and source in the lake."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts Athena's results."
  type        = string
}

variable "query_limit_gb" {
  description = "Gigabytes that one query may scan. Athena stops it then."
  type        = number
}

variable "views" {
  description = "Athena views by name, as `ruter-dagster athena-views` writes them. $${database} in the SQL is the Glue database."
  type = map(object({
    description = string
    sql         = string
    import_mode = string
    columns     = list(object({ name = string, presto_type = string, hive_type = string }))
  }))
}
