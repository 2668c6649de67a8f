data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  arn     = "arn:${data.aws_partition.current.partition}"
  here    = "${var.region}:${local.account}"
}

resource "aws_kms_key" "state" {
  description             = "Terraform's state, which may hold passwords, and images"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
}

data "aws_iam_policy_document" "key" {
  # checkov:skip=CKV_AWS_109:In a key's own policy, * is this key alone
  # checkov:skip=CKV_AWS_111:In a key's own policy, * is this key alone
  # checkov:skip=CKV_AWS_356:In a key's own policy, * is this key alone
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["${local.arn}:iam::${local.account}:root"]
    }
  }
}

resource "aws_kms_alias" "state" {
  name          = "alias/rd-state"
  target_key_id = aws_kms_key.state.key_id
}

module "state" {
  source = "../modules/bucket"

  name                  = "rd-state-${local.account}-${var.region}"
  kms_key_arn           = aws_kms_key.state.arn
  force_destroy         = false
  previous_version_days = 90
}

# One repository for all environments: dev, test, stage and prod run the image that was tested, by its digest. The third has the image of CI's jobs.
resource "aws_ecr_repository" "this" {
  for_each = toset(["jobs", "dagster", "ci"])

  name                 = "rd-${each.value}"
  image_tag_mutability = "IMMUTABLE"

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.state.arn
  }

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Images of branches, two weeks"
        selection    = { tagStatus = "tagged", tagPrefixList = ["branch-"], countType = "sinceImagePushed", countUnit = "days", countNumber = 14 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "Images without a tag, a day"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 1 }
        action       = { type = "expire" }
      },
    ]
  })
}

data "aws_iam_policy_document" "image_readers" {
  statement {
    sid     = "OtherAccounts"
    actions = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]

    principals {
      type        = "AWS"
      identifiers = [for account in var.image_readers : "${local.arn}:iam::${account}:root"]
    }
  }
}

resource "aws_ecr_repository_policy" "this" {
  for_each = length(var.image_readers) == 0 ? {} : aws_ecr_repository.this

  repository = each.value.name
  policy     = data.aws_iam_policy_document.image_readers.json
}

# Jobs of all environments write to these groups. SageMaker would create them, and keep their lines for ever.
resource "aws_cloudwatch_log_group" "jobs" {
  # checkov:skip=CKV_AWS_158:CloudWatch encrypts them with its own key; all environments share the groups, so no environment's key fits
  # checkov:skip=CKV_AWS_338:`log_days` says how long, for all environments
  for_each = toset(["ProcessingJobs", "TrainingJobs"])

  name              = "/aws/sagemaker/${each.key}"
  retention_in_days = var.log_days
}

resource "aws_iam_openid_connect_provider" "gitlab" {
  url            = var.gitlab_url
  client_id_list = [var.gitlab_url]
}
