variable "name" {
  description = "Name of the bucket."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name))
    error_message = "A bucket's name has 3 to 63 lowercase letters, digits and hyphens."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the objects."
  type        = string
}

variable "force_destroy" {
  description = "Whether destroying the bucket deletes its objects. False in prod."
  type        = bool
}

variable "previous_version_days" {
  description = "Days that overwritten and deleted objects are kept."
  type        = number
  default     = 30
}

variable "expirations" {
  description = "Objects that expire, by rule name: prefix and days."
  type        = map(object({ prefix = string, days = number }))
  default     = {}
}

variable "send_events" {
  description = "Whether S3 tells EventBridge of new objects."
  type        = bool
  default     = false
}
