variable "name" {
  description = "Name of the environment's resources, such as rd-dev."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network. A peered network, of Kafka for instance, must have others."
  type        = string

  validation {
    condition     = can(cidrsubnet(var.cidr, 4, 15))
    error_message = "The network needs at least a /24 such as 10.20.0.0/16: it is divided into 16 subnets."
  }
}

variable "nat_gateway" {
  description = "Whether the private subnets reach the internet, as Slack and a Kafka outside AWS need."
  type        = bool
}

variable "interface_endpoints" {
  description = "AWS services with an endpoint in the network, such as ecr.api."
  type        = list(string)
}

variable "kafka_cidrs" {
  description = "Addresses of the Kafka brokers and of the Schema Registry."
  type        = list(string)
}

variable "kafka_ports" {
  description = "Ports of the Kafka brokers and of the Schema Registry."
  type        = list(number)
}

variable "kms_key_arn" {
  description = "Key that encrypts the logs of the network."
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
