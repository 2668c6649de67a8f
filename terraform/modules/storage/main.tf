data "aws_caller_identity" "current" {}
data "aws_region" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  suffix  = "${local.account}-${data.aws_region.current.name}"
}

data "aws_iam_policy_document" "key" {
  # checkov:skip=CKV_AWS_109:In a key's own policy, * is this key alone
  # checkov:skip=CKV_AWS_111:In a key's own policy, * is this key alone
  # checkov:skip=CKV_AWS_356:In a key's own policy, * is this key alone
  # The account's own policies decide who uses the key: without this statement, nobody could ever change it.
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${local.account}:root"]
    }
  }

  # In a key's own policy, * is this key alone.
  statement {
    sid       = "LogsEventsAndAlarms"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = concat(["logs.${data.aws_region.current.name}.amazonaws.com"], [for service in ["events", "sns", "cloudwatch", "budgets"] : "${service}.amazonaws.com"])
    }
  }
}

resource "aws_kms_key" "this" {
  description             = "Data, queues, logs and secrets of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = var.protected ? 30 : 7
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

module "lake" {
  source = "../bucket"

  name          = "${var.name}-lake-${local.suffix}"
  kms_key_arn   = aws_kms_key.this.arn
  force_destroy = !var.protected

  expirations = {
    pipes     = { prefix = "${var.lake_prefix}/artifacts/pipes/", days = 30 }
    pipelines = { prefix = "${var.lake_prefix}/artifacts/pipelines/", days = 30 }
    events    = { prefix = "${var.lake_prefix}/artifacts/events/ended/", days = 7 }
    staging   = { prefix = "${var.lake_prefix}/staging/", days = 7 }
    athena    = { prefix = "athena-results/", days = 7 }
  }
}

module "raw" {
  source = "../bucket"
  count  = var.create_raw_bucket ? 1 : 0

  name          = "${var.name}-raw-${local.suffix}"
  kms_key_arn   = aws_kms_key.this.arn
  force_destroy = !var.protected
  send_events   = true
}

module "logs" {
  source = "../bucket"

  name          = "${var.name}-logs-${local.suffix}"
  kms_key_arn   = aws_kms_key.this.arn
  force_destroy = !var.protected

  expirations = {
    compute = { prefix = "dagster/", days = var.log_days }
  }
}
