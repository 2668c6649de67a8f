# What the CI roles may do. Resources have the names of their environments; what has no name in its ARN has the tag.
locals {
  scopes = { for name, scope in local.all_scopes : name => scope if name != "sandbox" || var.sandboxes }
  all_scopes = {
    sandbox = { names = ["rd-s-*"], databases = ["rd_s_*"], tags = ["s-*"], records = ["*rd-s-*", "s-*"], boundary = one(aws_iam_policy.sandbox_boundary[*].arn) }
    deploy = {
      names     = [for environment in var.environments : "rd-${environment}*"]
      databases = [for environment in var.environments : "rd_${environment}"]
      tags      = var.environments
      records   = ["*"]
      boundary  = null
    }
  }

  policies = merge([for scope in keys(local.scopes) : {
    "${scope}-data"     = data.aws_iam_policy_document.data[scope].json
    "${scope}-compute"  = data.aws_iam_policy_document.compute[scope].json
    "${scope}-tagged"   = data.aws_iam_policy_document.tagged[scope].json
    "${scope}-roles"    = data.aws_iam_policy_document.roles[scope].json
    "${scope}-reading"  = data.aws_iam_policy_document.reading.json
    "${scope}-services" = data.aws_iam_policy_document.services[scope].json
  }]...)
}

# Services whose ARNs contain the name of the resource: a policy for data, another for what computes. One would be too long.
data "aws_iam_policy_document" "data" {
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
    sid       = "Secrets"
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret", "secretsmanager:UpdateSecret", "secretsmanager:PutResourcePolicy", "secretsmanager:GetResourcePolicy", "secretsmanager:DeleteResourcePolicy", "secretsmanager:TagResource", "secretsmanager:UntagResource", "secretsmanager:RestoreSecret", "secretsmanager:PutSecretValue"]
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

  statement {
    sid       = "KeyNames"
    actions   = ["kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"]
    resources = [for name in each.value.names : "${local.arn}:kms:${local.here}:alias/${name}"]
  }
}

data "aws_iam_policy_document" "compute" {
  # checkov:skip=CKV_AWS_111:Hosted zones get their id from Route 53 when they are created; records are limited by their names
  # checkov:skip=CKV_AWS_356:Hosted zones get their id from Route 53 when they are created; records are limited by their names
  for_each = local.scopes

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

  # A database's default option group has no environment.
  statement {
    sid       = "OptionsOfDatabases"
    actions   = ["rds:CreateDBInstance", "rds:ModifyDBInstance"]
    resources = ["${local.arn}:rds:${local.here}:og:default*"]
  }

  # Cloud Map makes a private zone. Route 53 has no names in ARNs, and refuses to delete a zone that has records.
  statement {
    sid       = "Zones"
    actions   = ["route53:CreateHostedZone", "route53:DeleteHostedZone", "route53:AssociateVPCWithHostedZone"]
    resources = ["*"]
  }

  statement {
    sid       = "Records"
    actions   = ["route53:ChangeResourceRecordSets"]
    resources = ["${local.arn}:route53:::hostedzone/*"]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
      values   = each.value.records
    }
  }

  # An account has these roles once a service was used for the first time. Each is for its service alone.
  statement {
    sid       = "RolesOfServices"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["${local.arn}:iam::${local.account}:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com", "rds.amazonaws.com", "sagemaker.amazonaws.com"]
    }
  }
}

# Services whose ARNs contain an id that AWS chooses: the tag says to whom the resource belongs.
data "aws_iam_policy_document" "tagged" {
  for_each = local.scopes

  # By tags instead of names, here and below.
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

  # As above: ids of these resources say nothing.
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

  # The tag of a request opens `Create` for every resource of the request, those of others too: a network interface in another's subnet, for instance.
  # And whoever could tag a resource of another environment could then delete it.
  statement {
    sid       = "KeepResourcesOfOthers"
    effect    = "Deny"
    actions   = concat(local.changes_of_keys, [for service in local.tagged_services : service if service != "kms:*"], ["sagemaker:DeleteTags"])
    resources = ["*"]

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/environment"
      values   = ["false"]
    }

    condition {
      test     = "StringNotLike"
      variable = "aws:ResourceTag/environment"
      values   = each.value.tags
    }
  }

  # AWS makes these three with each network and gives them no tag. Terraform tags them, but replaces the rules of an access list before.
  statement {
    sid       = "AdoptAccessLists"
    actions   = ["ec2:CreateNetworkAclEntry", "ec2:DeleteNetworkAclEntry"]
    resources = ["${local.arn}:ec2:${local.here}:network-acl/*"]

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/environment"
      values   = ["true"]
    }
  }

  # Everything else has its tag from its creation. Interfaces of jobs have none, in prod either.
  statement {
    sid           = "TagAtCreation"
    effect        = "Deny"
    actions       = ["ec2:CreateTags"]
    not_resources = [for kind in ["network-acl", "route-table", "security-group"] : "${local.arn}:ec2:${local.here}:${kind}/*"]

    condition {
      test     = "Null"
      variable = "ec2:CreateAction"
      values   = ["true"]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/environment"
      values   = ["true"]
    }
  }
}

locals {
  chat_regions = ["us-east-2", "us-west-2", "ap-southeast-1", "eu-west-1"]

  # All but reading: a report on a merge request reads prod's tables, whose key has prod's tag.
  changes_of_keys = [
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:CreateGrant", "kms:DeleteAlias", "kms:DeleteImportedKeyMaterial", "kms:Disable*", "kms:Enable*",
    "kms:PutKeyPolicy", "kms:ReEncrypt*", "kms:ReplicateKey", "kms:RetireGrant", "kms:RevokeGrant", "kms:ScheduleKeyDeletion", "kms:TagResource",
    "kms:UntagResource", "kms:Update*",
  ]

  tagged_services = [
    "ec2:*", "kms:*", "servicediscovery:*", "chatbot:*",
    "sagemaker:CreateDomain", "sagemaker:DescribeDomain", "sagemaker:UpdateDomain", "sagemaker:DeleteDomain", "sagemaker:AddTags", "sagemaker:ListTags",
  ]
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
      values   = ["sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com", "monitoring.rds.amazonaws.com", "vpc-flow-logs.amazonaws.com", "chatbot.amazonaws.com", "quicksight.amazonaws.com"]
    }
  }

  # Push and read. No pipeline may delete an image: prod runs images of these repositories.
  statement {
    sid = "Images"
    actions = [
      "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImages", "ecr:DescribeRepositories",
      "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:ListImages", "ecr:PutImage", "ecr:UploadLayerPart",
    ]
    resources = [for repository in aws_ecr_repository.this : repository.arn]
  }

  # AWS offers no resource for this action.
  statement {
    sid       = "SignIn"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
}

data "aws_iam_policy_document" "reading" {
  # Terraform reads everything that it manages. These actions change nothing and show no data. Global services are in us-east-1, Slack channels in the region of their API.
  statement {
    sid = "Descriptions"
    actions = [
      "ec2:Describe*", "elasticloadbalancing:Describe*", "rds:Describe*", "ecs:Describe*", "ecs:List*", "logs:Describe*", "cloudwatch:Describe*", "cloudwatch:GetDashboard", "cloudwatch:ListTagsForResource",
      "servicediscovery:Get*", "servicediscovery:List*", "route53:Get*", "route53:List*", "acm:Describe*", "acm:List*", "kms:List*", "sagemaker:List*", "sagemaker:Search",
      "chatbot:Describe*", "chatbot:List*", "quicksight:List*", "quicksight:Describe*", "tag:GetResources", "sts:GetCallerIdentity", "iam:GetPolicy", "iam:GetPolicyVersion",
      "logs:ListTagsForResource", "budgets:ViewBudget", "secretsmanager:GetRandomPassword", "secretsmanager:ListSecrets", "cloudformation:DescribeStacks",
      "cloudformation:ListStacks",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = distinct(concat([var.region, "us-east-1"], local.chat_regions))
    }
  }
}

data "aws_iam_policy_document" "services" {
  for_each = local.scopes

  # Ids of dashboards, data sets and folders are names that Terraform gives.
  statement {
    sid       = "Dashboards"
    actions   = ["quicksight:*"]
    resources = flatten([for name in each.value.names : [for kind in ["analysis", "dashboard", "dataset", "datasource", "folder"] : "${local.arn}:quicksight:${local.here}:${kind}/${name}"]])
  }

  # Terraform reads the database's password back, to set it. Other secrets it only writes.
  statement {
    sid       = "PasswordsOfDatabases"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [for name in each.value.names : "${local.arn}:secretsmanager:${local.here}:secret:${name}/database-*"]
  }

  # SageMaker makes the table of a feature group with the rights of whoever creates the group, in one database for all groups.
  statement {
    sid     = "TablesOfFeatureGroups"
    actions = ["glue:CreateDatabase", "glue:GetDatabase", "glue:CreateTable", "glue:GetTable", "glue:UpdateTable", "glue:DeleteTable"]
    resources = concat(["${local.arn}:glue:${local.here}:database/sagemaker_featurestore"], flatten([for name in each.value.names : [
      for group in [name, replace(name, "-", "_")] : "${local.arn}:glue:${local.here}:table/sagemaker_featurestore/${group}"
    ]]))
  }

  # AWS chooses the names of these groups.
  statement {
    sid = "LogsOfServices"
    actions = [
      "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:DeleteRetentionPolicy", "logs:AssociateKmsKey",
      "logs:DisassociateKmsKey", "logs:TagResource", "logs:UntagResource",
    ]
    resources = flatten([for name in each.value.names : [
      for group in ["/aws/rds/instance", "/aws/ecs/containerinsights"] : "${local.arn}:logs:${local.here}:log-group:${group}/${name}/*"
    ]])
  }

  # Jobs of all environments share the groups of SageMaker, with streams of their own.
  statement {
    sid       = "LogsOfJobs"
    actions   = ["logs:DeleteLogStream"]
    resources = [for name in each.value.names : "${local.arn}:logs:${local.here}:log-group:/aws/sagemaker/*:log-stream:${name}"]
  }

  # AWS offers neither resources nor conditions for these changes. A branch that means harm could stop new runs of prod by deregistering its task
  # definitions, until the next deploy, and delete saved queries. No data is at risk. An account for prod alone prevents it.
  statement {
    sid       = "DefinitionsAndQueries"
    actions   = ["ecs:DeregisterTaskDefinition", "logs:PutQueryDefinition", "logs:DeleteQueryDefinition"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }
}

# The most that any role of a sandbox may do, whatever its own policies say.
resource "aws_iam_policy" "sandbox_boundary" {
  count = var.sandboxes ? 1 : 0

  name   = "rd-sandbox-boundary"
  policy = data.aws_iam_policy_document.boundary.json
}

data "aws_iam_policy_document" "boundary" {
  statement {
    sid       = "OwnBuckets"
    actions   = ["s3:*"]
    resources = ["${local.arn}:s3:::rd-s-*", "${local.arn}:s3:::rd-s-*/*"]
  }

  # A sandbox reads the tables and raw data of prod, and writes its own. AWS refuses a statement without resources.
  dynamic "statement" {
    for_each = length(var.readable_buckets) == 0 ? [] : [var.readable_buckets]

    content {
      sid       = "ReadProductionData"
      actions   = ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"]
      resources = flatten([for bucket in statement.value : ["${local.arn}:s3:::${bucket}", "${local.arn}:s3:::${bucket}/*"]])
    }
  }

  dynamic "statement" {
    for_each = length(var.readable_buckets) == 0 ? [] : [var.readable_environment]

    content {
      sid       = "ReadProductionKey"
      actions   = ["kms:Decrypt"]
      resources = ["${local.arn}:kms:${local.here}:key/*"]

      condition {
        test     = "ForAnyValue:StringEquals"
        variable = "kms:ResourceAliases"
        values   = ["alias/rd-${statement.value}"]
      }
    }
  }

  statement {
    sid     = "OwnServices"
    actions = ["sqs:*", "sagemaker:*", "athena:*", "secretsmanager:GetSecretValue", "ecs:*", "logs:*", "sns:Publish"]
    resources = concat(
      [for service in ["sqs", "sns"] : "${local.arn}:${service}:${local.here}:rd-s-*"],
      ["${local.arn}:sagemaker:${local.here}:*/rd-s-*", "${local.arn}:athena:${local.here}:workgroup/rd-s-*", "${local.arn}:athena:${local.here}:datacatalog/*"],
      ["${local.arn}:secretsmanager:${local.here}:secret:rd-s-*"],
      [for kind in ["task", "task-definition", "cluster", "service"] : "${local.arn}:ecs:${local.here}:${kind}/rd-s-*"],
      ["${local.arn}:logs:${local.here}:log-group:/rd/rd-s-*"],
    )
  }

  # Jobs of all environments share these groups; each job has streams of its own.
  statement {
    sid       = "GroupsOfJobs"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams"]
    resources = ["${local.arn}:logs:${local.here}:log-group:/aws/sagemaker/*"]
  }

  statement {
    sid       = "StreamsOfJobs"
    actions   = ["logs:GetLogEvents", "logs:PutLogEvents"]
    resources = [for streams in ["*:log-stream:rd-s-*", "Endpoints/rd-s-*"] : "${local.arn}:logs:${local.here}:log-group:/aws/sagemaker/${streams}"]
  }

  # RDS names this group and its streams itself, for databases of all environments.
  statement {
    sid       = "MeasurementsOfDatabases"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutLogEvents", "logs:PutRetentionPolicy"]
    resources = ["${local.arn}:logs:${local.here}:log-group:RDSOSMetrics*"]
  }

  # Columns of all tables, no rows: the database of a warehouse is not known here.
  statement {
    sid       = "Catalog"
    actions   = ["glue:Get*"]
    resources = ["${local.arn}:glue:${local.here}:*"]
  }

  statement {
    sid     = "OwnTables"
    actions = ["glue:CreateTable", "glue:UpdateTable", "glue:DeleteTable"]
    resources = [for name in [
      "catalog", "database/rd_s_*", "table/rd_s_*/*", "database/sagemaker_featurestore", "table/sagemaker_featurestore/rd-s-*", "table/sagemaker_featurestore/rd_s_*",
    ] : "${local.arn}:glue:${local.here}:${name}"]
  }

  statement {
    sid       = "Experiments"
    actions   = ["sagemaker-mlflow:*", "sagemaker:CallMlflowAppApi"]
    resources = concat(["${local.arn}:sagemaker:${local.here}:mlflow-tracking-server/rd-s-*"], var.sandbox_mlflow_arns)
  }

  statement {
    sid       = "PassOwnRoles"
    actions   = ["iam:PassRole"]
    resources = ["${local.arn}:iam::${local.account}:role/rd-s-*"]
  }

  statement {
    sid       = "OwnKeys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant"]
    resources = ["${local.arn}:kms:${local.here}:key/*"]

    condition {
      test     = "StringLike"
      variable = "aws:ResourceTag/environment"
      values   = ["s-*"]
    }
  }

  statement {
    sid       = "Images"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [for repository in aws_ecr_repository.this : repository.arn]
  }

  # AWS offers no resource for most of these actions. Metrics only add points.
  statement {
    sid = "WithoutResource"
    actions = [
      "cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage", "cloudwatch:PutMetricData",
      "ec2:Describe*", "ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  # SageMaker makes and deletes the interfaces of its jobs with the job's role, and gives them no tag. Subnets and groups have one.
  statement {
    sid       = "InterfacesOfJobs"
    actions   = ["ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }

    condition {
      test     = "StringLikeIfExists"
      variable = "aws:ResourceTag/environment"
      values   = ["s-*"]
    }
  }
}
