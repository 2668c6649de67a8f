data "aws_iam_policy_document" "orchestrator" {
  source_policy_documents = [data.aws_iam_policy_document.secret.json, data.aws_iam_policy_document.raw.json]

  statement {
    sid = "Jobs"
    actions = [
      "sagemaker:CreateProcessingJob",
      "sagemaker:DescribeProcessingJob",
      "sagemaker:StopProcessingJob",
      "sagemaker:CreateTrainingJob",
      "sagemaker:DescribeTrainingJob",
      "sagemaker:StopTrainingJob",
      "sagemaker:AddTags",
    ]
    resources = [for kind in ["processing", "training"] : "${local.arn}:sagemaker:${local.here}:${kind}-job/${var.name}-*"]
  }

  statement {
    sid       = "RolesOfJobs"
    actions   = ["iam:PassRole"]
    resources = [for role in aws_iam_role.job : role.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }

  statement {
    sid     = "MessagesEventsAndLogs"
    actions = ["s3:GetObject", "s3:PutObject"]
    resources = [
      "${var.lake_arn}/${var.lake_prefix}/artifacts/pipes/*",
      "${var.lake_arn}/${var.lake_prefix}/artifacts/events/*",
      "${var.lake_arn}/${var.lake_prefix}/artifacts/reforecasts/*",
      "${var.logs_arn}/dagster/*",
    ]
  }

  statement {
    sid       = "ExistingTables"
    actions   = ["glue:GetTable"]
    resources = local.tables
  }

  statement {
    sid     = "VersionsVerdictsAndModels"
    actions = ["s3:GetObject"]
    resources = [
      "${var.lake_arn}/${var.lake_prefix}/warehouse/*/metadata/*",
      "${var.lake_arn}/${var.lake_prefix}/artifacts/*",
      "${var.lake_arn}/config/*",
    ]
  }

  # Without s3:ListBucket, S3 answers "forbidden" for an object that does not exist.
  statement {
    sid       = "Buckets"
    actions   = ["s3:ListBucket"]
    resources = [var.lake_arn, var.logs_arn]
  }

  statement {
    sid       = "LogLines"
    actions   = ["logs:DescribeLogStreams", "logs:GetLogEvents"]
    resources = ["${local.arn}:logs:${local.here}:log-group:/aws/sagemaker/*"]
  }

  dynamic "statement" {
    for_each = length(var.queue_arns) == 0 ? [] : [var.queue_arns]

    content {
      sid       = "Queues"
      actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
      resources = statement.value
    }
  }

  # Dagster's own alerts go to the receivers of alarms. The module observability creates the topic.
  statement {
    sid       = "Alerts"
    actions   = ["sns:Publish"]
    resources = ["${local.arn}:sns:${local.here}:${var.name}-alarms"]
  }

  statement {
    sid       = "Keys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
    resources = [var.kms_key_arn]
  }

  statement {
    sid       = "KeysOfVolumes"
    actions   = ["kms:CreateGrant"]
    resources = [var.kms_key_arn]

    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }

  # Dagster's EcsRunLauncher starts one task for each run, of the definition that Terraform made.
  statement {
    sid       = "RunsOfDagster"
    actions   = ["ecs:RunTask", "ecs:StopTask", "ecs:DescribeTasks"]
    resources = ["${local.arn}:ecs:${local.here}:task/${var.name}/*", "${local.arn}:ecs:${local.here}:task-definition/${var.name}-*:*"]

    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = ["${local.arn}:ecs:${local.here}:cluster/${var.name}"]
    }
  }

  # ECS checks it for a task that starts with tags. The cluster is no key of this action.
  statement {
    sid       = "TagsOfRuns"
    actions   = ["ecs:TagResource"]
    resources = ["${local.arn}:ecs:${local.here}:task/${var.name}/*"]

    condition {
      test     = "StringEquals"
      variable = "ecs:CreateAction"
      values   = ["RunTask"]
    }
  }

  # AWS offers no resource for describing task definitions and the networks of tasks.
  statement {
    sid       = "TaskDefinitions"
    actions   = ["ecs:DescribeTaskDefinition", "ec2:DescribeNetworkInterfaces"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [local.region]
    }
  }

  statement {
    sid       = "RolesOfRuns"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.orchestrator.arn, aws_iam_role.execution.arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "Image"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [var.orchestrator_repository_arn]
  }

  # AWS offers no resource for this action.
  statement {
    sid       = "SignIn"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "LogLines"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.arn}:logs:${local.here}:log-group:/rd/${var.name}/*"]
  }

  statement {
    sid       = "PasswordOfTheDatabase"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["${local.arn}:secretsmanager:${local.here}:secret:${var.name}/database-*"]
  }

  statement {
    sid       = "Keys"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]
  }
}
