variable "name" {
  description = "Name of the environment's resources, and dimension of its metrics."
  type        = string
}

variable "environment" {
  description = "Environment, as the tag of its resources. The budget counts what has this tag."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the topic of alarms."
  type        = string
}

variable "log_groups" {
  description = "Log groups of Dagster's containers: code, web, daemon, run."
  type        = map(string)
}

variable "cluster" {
  description = "ECS cluster."
  type        = string
}

variable "database" {
  description = "Identifier of Dagster's database."
  type        = string
}

variable "load_balancer" {
  description = "Name of the load balancer in metrics."
  type        = string
}

variable "target_group" {
  description = "Name of the webserver's target group in metrics."
  type        = string
}

variable "queues" {
  description = "Names of the queues of events."
  type        = list(string)
}

variable "dead_letter_queues" {
  description = "Names of the queues of messages that could not be read, by rule."
  type        = map(string)
}

variable "alarm_emails" {
  description = "E-mail addresses that receive alarms."
  type        = list(string)
}

variable "slack" {
  description = "Slack workspace and channel that receive alarms; null for none."
  type        = object({ workspace_id = string, channel_id = string })
}

variable "budget_usd" {
  description = "US dollars a month. Alarms at 80 % spent and 100 % forecast."
  type        = number
}

variable "permissions_boundary" {
  description = "ARN of the boundary of all roles; null if there is none."
  type        = string
}
