data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  arn       = "arn:${local.partition}"
  here      = "${local.region}:${local.account}"

  # What each kind of job may do, beside the common statements.
  kinds = {
    tables   = ["readable"]
    snapshot = compact(["raw", var.warehouse == null ? "" : "warehouse", "readable"])
    model    = ["mlflow", "readable"]
    publish  = ["secret", "readable"]
  }

  # Jobs that are not here have the role of tables.
  kind_of_job = {
    snapshot = "snapshot"
    train    = "model"
    evaluate = "model"
    refit    = "model"
    promote  = "model"
    publish  = "publish"
  }
}

data "aws_iam_policy_document" "job_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["sagemaker.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "job" {
  for_each = local.kinds

  name                 = "${var.name}-job-${each.key}"
  description          = "SageMaker jobs of ${var.name} of the kind ${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.job_trust.json
  permissions_boundary = var.permissions_boundary
}

data "aws_iam_policy_document" "job" {
  for_each = local.kinds

  source_policy_documents = concat(
    [data.aws_iam_policy_document.common.json],
    [for part in each.value : local.parts[part]],
  )
}

resource "aws_iam_role_policy" "job" {
  for_each = local.kinds

  name   = "ruter-dagster"
  role   = aws_iam_role.job[each.key].id
  policy = data.aws_iam_policy_document.job[each.key].json
}

resource "aws_iam_role" "orchestrator" {
  name                 = "${var.name}-orchestrator"
  description          = "Dagster's webserver, daemon, code location and runs of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.task_trust.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "orchestrator" {
  name   = "ruter-dagster"
  role   = aws_iam_role.orchestrator.id
  policy = data.aws_iam_policy_document.orchestrator.json
}

data "aws_iam_policy_document" "task_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

# ECS itself uses this role: it starts containers, and no code of ours runs with it.
resource "aws_iam_role" "execution" {
  name                 = "${var.name}-start-containers"
  description          = "ECS pulls images, reads the database's password and writes logs"
  assume_role_policy   = data.aws_iam_policy_document.task_trust.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "execution" {
  name   = "start-containers"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}
