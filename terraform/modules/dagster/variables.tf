variable "name" {
  description = "Name of the environment's resources, such as rd-dev. The load balancer allows 32 characters."
  type        = string

  validation {
    condition     = length(var.name) <= 28
    error_message = "At most 28 characters: the target group's name is four longer, and AWS allows 32."
  }
}

variable "image" {
  description = "Image of Dagster's containers, by digest."
  type        = string
}

variable "environment" {
  description = "Variables of Dagster's containers, without passwords."
  type        = map(string)
}

variable "sizes" {
  description = "CPU units and MiB of each container and of a run; class of the database."
  type = object({
    code     = object({ cpu = number, memory = number })
    web      = object({ cpu = number, memory = number })
    daemon   = object({ cpu = number, memory = number })
    run      = object({ cpu = number, memory = number })
    database = string
  })
}

variable "database_password_version" {
  description = "Version of the database's password. A higher number draws a new password and starts the containers again. 0 draws none, for `terraform test`."
  type        = number
}

variable "protected" {
  description = "Whether the database has a standby, is backed up for 14 days and cannot be deleted."
  type        = bool
}

variable "wait_for_services" {
  description = "Whether an apply waits until the new containers are healthy."
  type        = bool
}

variable "vpc_id" {
  description = "Network of the environment."
  type        = string
}

variable "private_subnet_ids" {
  description = "Subnets of containers and database."
  type        = list(string)
}

variable "public_subnet_ids" {
  description = "Subnets of the load balancer, if the UI has a domain."
  type        = list(string)
}

variable "allowed_cidrs" {
  description = "Addresses that reach the UI's login."
  type        = list(string)
}

variable "kafka_cidrs" {
  description = "Addresses of the Kafka brokers."
  type        = list(string)
}

variable "kafka_ports" {
  description = "Ports of the Kafka brokers."
  type        = list(number)
}

variable "domain" {
  description = "Domain name of the UI and its Route 53 zone. Null: the load balancer is reached from the network alone."
  type        = object({ name = string, zone_id = string })
}

variable "certificate_arn" {
  description = "ARN of the certificate of the UI's domain."
  type        = string
}

variable "login" {
  description = "Endpoints and client id of the OIDC provider; null without a login, for a UI without a domain."
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
  })

  validation {
    condition     = var.login != null || var.domain == null
    error_message = "A UI with a domain needs `login`: Dagster's webserver knows no users."
  }
}

variable "login_client_secret" {
  description = "Client secret of the OIDC provider."
  type        = string
  sensitive   = true
}

variable "orchestrator_role_arn" {
  description = "Role of the code in the containers."
  type        = string
}

variable "execution_role_arn" {
  description = "Role with which ECS starts containers."
  type        = string
}

variable "logs_bucket" {
  description = "Bucket of the output of steps."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the database, its password and logs."
  type        = string
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}

variable "permissions_boundary" {
  description = "ARN of the boundary of all roles; null if there is none."
  type        = string
}
