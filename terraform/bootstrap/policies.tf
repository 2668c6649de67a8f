# What the CI roles may do. Resources have the names of their environments; what has no name in its ARN has the tag.
locals {
  scopes = {
    sandbox = { names = ["rd-s-*"], databases = ["rd_s_*"], tags = ["s-*"], boundary = aws_iam_policy.sandbox_boundary.arn }
    deploy = {
      names     = flatten([for environment in var.environments : ["rd-${environment}", "rd-${environment}-*"]])
      databases = [for environment in var.environments : "rd_${environment}"]
      tags      = var.environments
      boundary  = null
    }
  }

  policies = merge([for scope in keys(local.scopes) : {
    "${scope}-named"   = data.aws_iam_policy_document.named[scope].json
    "${scope}-tagged"  = data.aws_iam_policy_document.tagged[scope].json
    "${scope}-roles"   = data.aws_iam_policy_document.roles[scope].json
    "${scope}-reading" = data.aws_iam_policy_document.reading.json
  }]...)
}

# Services whose ARNs contain the name of the resource.
data "aws_iam_policy_document" "named" {
  for_each = local.scopes

  statement {
    sid       = "Buckets"
    actions   = ["s3:*"]
    resources = flatten([for name in each.value.names : ["${local.arn}:s3:::${name}", "${local.arn}:s3:::${name}/*"]])
  }

  statement {
    sid       = "Queues"
    actions   = ["sqs:*"]
    resources = [for name in each.value.names : "${local.arn}:sqs:${local.here}:${name}"]
  }

  statement {
    sid       = "Topics"
    actions   = ["sns:*"]
    resources = [for name in each.value.names : "${local.arn}:sns:${local.here}:${name}"]
  }

  statement {
    sid       = "Rules"
    actions   = ["events:*"]
    resources = [for name in each.value.names : "${local.arn}:events:${local.here}:rule/${name}"]
  }

  statement {
    sid       = "Jobs"
    actions   = ["sagemaker:*"]
    resources = [for name in each.value.names : "${local.arn}:sagemaker:${local.here}:*/${name}"]
  }

  statement {
    sid       = "Containers"
    actions   = ["ecs:*"]
    resources = flatten([for name in each.value.names : [for kind in ["cluster", "service", "task", "task-definition"] : "${local.arn}:ecs:${local.here}:${kind}/${name}*"]])
  }

  statement {
    sid       = "Databases"
    actions   = ["rds:*"]
    resources = flatten([for name in each.value.names : [for kind in ["db", "subgrp", "pg", "snapshot"] : "${local.arn}:rds:${local.here}:${kind}:${name}"]])
  }

  statement {
    sid       = "Balancers"
    actions   = ["elasticloadbalancing:*"]
    resources = flatten([for name in each.value.names : [for kind in ["loadbalancer/app", "listener/app", "listener-rule/app", "targetgroup"] : "${local.arn}:elasticloadbalancing:${local.here}:${kind}/${name}/*"]])
  }

  statement {
    sid       = "Secrets"
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret", "secretsmanager:UpdateSecret", "secretsmanager:PutResourcePolicy", "secretsmanager:GetResourcePolicy", "secretsmanager:DeleteResourcePolicy", "secretsmanager:TagResource", "secretsmanager:UntagResource", "secretsmanager:RestoreSecret"]
    resources = [for name in each.value.names : "${local.arn}:secretsmanager:${local.here}:secret:${name}/*"]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:*"]
    resources = flatten([for name in each.value.names : ["${local.arn}:logs:${local.here}:log-group:/rd/${name}/*", "${local.arn}:logs:${local.here}:log-group:/rd/${name}/*:*"]])
  }

  statement {
    sid       = "Alarms"
    actions   = ["cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms", "cloudwatch:PutDashboard", "cloudwatch:DeleteDashboards", "cloudwatch:TagResource", "cloudwatch:UntagResource"]
    resources = flatten([for name in each.value.names : ["${local.arn}:cloudwatch:${local.here}:alarm:${name}", "${local.arn}:cloudwatch::${local.account}:dashboard/${name}"]])
  }

  statement {
    sid     = "Catalog"
    actions = ["glue:*"]
    resources = concat(["${local.arn}:glue:${local.here}:catalog"], flatten([for database in each.value.databases : [
      "${local.arn}:glue:${local.here}:database/${database}", "${local.arn}:glue:${local.here}:table/${database}/*",
    ]]))
  }

  statement {
    sid       = "Workgroups"
    actions   = ["athena:*"]
    resources = [for name in each.value.names : "${local.arn}:athena:${local.here}:workgroup/${name}"]
  }

  statement {
    sid       = "Budgets"
    actions   = ["budgets:*"]
    resources = [for name in each.value.names : "${local.arn}:budgets::${local.account}:budget/${name}"]
  }

  statement {
    sid       = "DashboardsOfForecasts"
    actions   = ["cloudformation:*"]
    resources = [for name in each.value.names : "${local.arn}:cloudformation:${local.here}:stack/${name}/*"]
  }
}

# Services whose ARNs contain an id that AWS chooses: the tag says to whom the resource belongs.
data "aws_iam_policy_document" "tagged" {
  for_each = local.scopes

  statement {
    sid       = "Create"
    actions   = local.tagged_services
    resources = ["*"]

    condition {
      test     = "StringLike"
      variable = "aws:RequestTag/environment"
      values   = each.value.tags
    }
  }

  statement {
    sid       = "ChangeAndDelete"
    actions   = local.tagged_services
    resources = ["*"]

    condition {
      test     = "StringLike"
      variable = "aws:ResourceTag/environment"
      values   = each.value.tags
    }
  }
}

locals {
  tagged_services = ["ec2:*", "kms:*", "servicediscovery:*", "quicksight:*", "chatbot:*"]
}

data "aws_iam_policy_document" "roles" {
  for_each = local.scopes

  statement {
    sid = "Roles"
    actions = [
      "iam:DeleteRole", "iam:GetRole", "iam:UpdateRole", "iam:UpdateAssumeRolePolicy", "iam:TagRole", "iam:UntagRole", "iam:GetRolePolicy",
      "iam:DeleteRolePolicy", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole",
    ]
    resources = [for name in each.value.names : "${local.arn}:iam::${local.account}:role/${name}"]
  }

  # Whoever could create a role without the boundary could give it every right of the account.
  statement {
    sid       = "RolesWithinTheBoundary"
    actions   = ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:DetachRolePolicy"]
    resources = [for name in each.value.names : "${local.arn}:iam::${local.account}:role/${name}"]

    dynamic "condition" {
      for_each = each.value.boundary == null ? [] : [each.value.boundary]

      content {
        test     = "StringEquals"
        variable = "iam:PermissionsBoundary"
        values   = [condition.value]
      }
    }
  }

  statement {
    sid       = "GiveRolesToServices"
    actions   = ["iam:PassRole"]
    resources = [for name in each.value.names : "${local.arn}:iam::${local.account}:role/${name}"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com", "monitoring.rds.amazonaws.com", "vpc-flow-logs.amazonaws.com", "chatbot.amazonaws.com"]
    }
  }

  statement {
    sid       = "Images"
    actions   = ["ecr:*"]
    resources = [for repository in aws_ecr_repository.this : repository.arn]
  }

  # AWS offers no resource for this action.
  statement {
    sid       = "SignIn"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
}

# Terraform reads everything that it manages. These actions change nothing and show no data.
data "aws_iam_policy_document" "reading" {
  statement {
    sid = "Descriptions"
    actions = [
      "ec2:Describe*", "elasticloadbalancing:Describe*", "rds:Describe*", "ecs:Describe*", "ecs:List*", "logs:Describe*", "cloudwatch:Describe*", "cloudwatch:GetDashboard",
      "servicediscovery:Get*", "servicediscovery:List*", "route53:Get*", "route53:List*", "acm:Describe*", "acm:List*", "kms:List*", "sagemaker:List*", "sagemaker:Search",
      "chatbot:Describe*", "quicksight:List*", "quicksight:Describe*", "tag:GetResources", "sts:GetCallerIdentity", "iam:GetPolicy", "iam:GetPolicyVersion",
      "ecs:DeregisterTaskDefinition", "logs:PutQueryDefinition", "logs:DeleteQueryDefinition", "logs:ListTagsForResource", "budgets:ViewBudget",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region, "us-east-1"]
    }
  }
}

# The most that any role of a sandbox may do, whatever its own policies say.
resource "aws_iam_policy" "sandbox_boundary" {
  name   = "rd-sandbox-boundary"
  policy = data.aws_iam_policy_document.boundary.json
}

data "aws_iam_policy_document" "boundary" {
  statement {
    sid       = "OwnBuckets"
    actions   = ["s3:*"]
    resources = ["${local.arn}:s3:::rd-s-*", "${local.arn}:s3:::rd-s-*/*"]
  }

  # A sandbox reads the tables and raw data of prod, and writes its own.
  statement {
    sid       = "ReadProductionData"
    actions   = ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"]
    resources = flatten([for bucket in var.readable_buckets : ["${local.arn}:s3:::${bucket}", "${local.arn}:s3:::${bucket}/*"]])
  }

  statement {
    sid     = "OwnServices"
    actions = ["sqs:*", "sagemaker:*", "athena:*", "secretsmanager:GetSecretValue", "ecs:*", "logs:*", "cloudwatch:*", "sns:Publish"]
    resources = concat(
      [for service in ["sqs", "sns"] : "${local.arn}:${service}:${local.here}:rd-s-*"],
      ["${local.arn}:sagemaker:${local.here}:*/rd-s-*", "${local.arn}:sagemaker:${local.here}:*/pipelines-*"],
      ["${local.arn}:athena:${local.here}:workgroup/rd-s-*", "${local.arn}:secretsmanager:${local.here}:secret:rd-s-*", "${local.arn}:secretsmanager:${local.here}:secret:rds!db-*"],
      [for kind in ["task", "task-definition", "cluster", "service"] : "${local.arn}:ecs:${local.here}:${kind}/rd-s-*"],
      ["${local.arn}:logs:${local.here}:log-group:/rd/rd-s-*", "${local.arn}:logs:${local.here}:log-group:/aws/sagemaker/*"],
    )
  }

  statement {
    sid       = "Catalog"
    actions   = ["glue:Get*"]
    resources = ["${local.arn}:glue:${local.here}:*"]
  }

  statement {
    sid       = "OwnTables"
    actions   = ["glue:CreateTable", "glue:UpdateTable", "glue:DeleteTable"]
    resources = ["${local.arn}:glue:${local.here}:catalog", "${local.arn}:glue:${local.here}:database/rd_s_*", "${local.arn}:glue:${local.here}:table/rd_s_*/*"]
  }

  statement {
    sid       = "PassOwnRoles"
    actions   = ["iam:PassRole"]
    resources = ["${local.arn}:iam::${local.account}:role/rd-s-*"]
  }

  # Actions without a resource, and keys, whose own policies name the environment's roles.
  statement {
    sid = "WithoutResource"
    actions = [
      "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "cloudwatch:PutMetricData", "cloudwatch:Get*",
      "ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission", "ec2:Describe*",
      "ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }
}
