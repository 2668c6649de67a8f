# An empty root: applied on a sandbox's state, it destroys all that the state knows, without the branch's code.
terraform {
  required_version = "~> 1.11"

  backend "s3" {
    # No `encrypt`: it would override the bucket's own key with one of S3.
    use_lockfile = true
  }

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region
}

provider "aws" {
  alias  = "chat"
  region = var.chat_region
}

variable "region" {
  description = "AWS region of the sandbox."
  type        = string
  default     = "eu-north-1"
}

variable "chat_region" {
  description = "Region of the API of Slack channels, as in the stack."
  type        = string
  default     = "eu-west-1"
}
