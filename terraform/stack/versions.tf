terraform {
  required_version = "~> 1.11"

  # Bucket, key and region come from `-backend-config`: scripts/cloud/terraform.
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

  default_tags {
    tags = local.tags
  }
}

# Slack channels of alarms: their API exists in four regions only, and serves topics of all regions.
provider "aws" {
  alias  = "chat"
  region = var.chat_region

  default_tags {
    tags = local.tags
  }
}
