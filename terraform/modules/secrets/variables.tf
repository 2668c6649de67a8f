variable "name" {
  description = "Name of the environment's resources, such as rd-dev."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts the secret."
  type        = string
}

variable "protected" {
  description = "Whether a deleted secret can be restored for 30 days."
  type        = bool
}

variable "reader_arns" {
  description = "ARNs, or patterns of ARNs, of the roles that may read the secret."
  type        = list(string)
}
