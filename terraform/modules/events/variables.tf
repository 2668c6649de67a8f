variable "name" {
  description = "Name of the environment's resources, and prefix of its SageMaker jobs."
  type        = string
}

variable "raw_bucket" {
  description = "Bucket of raw data, which must send its events to EventBridge."
  type        = string
}

variable "raw_prefix" {
  description = "Prefix of raw data in the bucket."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts messages. EventBridge must be allowed to use it."
  type        = string
}
