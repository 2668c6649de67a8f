terraform {
  required_version = "~> 1.11"

  # The first apply has no bucket yet and keeps its state here; docs/deploy.md then moves it into the bucket.
  backend "local" {}

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
    tags = {
      project     = "ruter-dagster"
      environment = "account"
    }
  }
}
