locals {
  lake_objects = "${var.lake_arn}/${var.lake_prefix}/*"
  tables = [
    "${local.arn}:glue:${local.here}:catalog",
    "${local.arn}:glue:${local.here}:database/${var.database}",
    "${local.arn}:glue:${local.here}:table/${var.database}/*",
  ]

  subnets = [for subnet in var.subnet_ids : "${local.arn}:ec2:${local.here}:subnet/${subnet}"]

  parts = {
    raw       = data.aws_iam_policy_document.raw.json
    warehouse = data.aws_iam_policy_document.warehouse.json
    mlflow    = data.aws_iam_policy_document.mlflow.json
    secret    = data.aws_iam_policy_document.secret.json
    readable  = data.aws_iam_policy_document.readable.json
  }
}

data "aws_iam_policy_document" "common" {
  statement {
    sid       = "Lake"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = [local.lake_objects]
  }

  # A run that continues another finds that run's jobs by these records.
  statement {
    sid       = "KeepRecordsOfJobs"
    effect    = "Deny"
    actions   = ["s3:DeleteObject"]
    resources = ["${var.lake_arn}/${var.lake_prefix}/artifacts/pipes/*"]
  }

  statement {
    sid       = "Configuration"
    actions   = ["s3:GetObject"]
    resources = ["${var.lake_arn}/config/*"]
  }

  statement {
    sid       = "Buckets"
    actions   = ["s3:ListBucket"]
    resources = [var.lake_arn]
  }

  statement {
    sid       = "Tables"
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:CreateTable", "glue:UpdateTable"]
    resources = local.tables
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

  # SageMaker names the log group itself, and environments share it.
  statement {
    sid       = "LogLines"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${local.arn}:logs:${local.here}:log-group:/aws/sagemaker/*"]
  }

  statement {
    sid       = "Image"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [var.jobs_repository_arn]
  }

  # AWS offers no resource for these actions.
  statement {
    sid       = "SignIn"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  # SageMaker writes the metrics of a job's instance into its own namespaces. CloudWatch offers no resource.
  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringLike"
      variable = "cloudwatch:namespace"
      values   = ["/aws/sagemaker/*"]
    }
  }

  # SageMaker connects a job to the network with the job's role.
  statement {
    sid       = "NewInterfaces"
    actions   = ["ec2:CreateNetworkInterface"]
    resources = concat(local.subnets, ["${local.arn}:ec2:${local.here}:security-group/${var.security_group_id}", "${local.arn}:ec2:${local.here}:network-interface/*"])
  }

  statement {
    sid       = "Interfaces"
    actions   = ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"]
    resources = ["${local.arn}:ec2:${local.here}:network-interface/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:Subnet"
      values   = local.subnets
    }
  }

  # EC2 offers no resource for descriptions, and none that is always there for the permission of an interface.
  statement {
    sid = "Network"
    actions = [
      "ec2:DeleteNetworkInterfacePermission",
      "ec2:DescribeDhcpOptions",
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcs",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [local.region]
    }
  }
}

data "aws_iam_policy_document" "raw" {
  statement {
    sid       = "RawData"
    actions   = ["s3:GetObject"]
    resources = ["${local.arn}:s3:::${var.raw_bucket}/${var.raw_prefix}*"]
  }

  statement {
    sid       = "RawBucket"
    actions   = ["s3:ListBucket"]
    resources = ["${local.arn}:s3:::${var.raw_bucket}"]
  }
}

data "aws_iam_policy_document" "warehouse" {
  dynamic "statement" {
    for_each = var.warehouse == null ? [] : [var.warehouse]

    content {
      sid       = "Queries"
      actions   = ["athena:StartQueryExecution", "athena:GetQueryExecution", "athena:StopQueryExecution"]
      resources = ["${local.arn}:athena:${local.here}:workgroup/${var.workgroup}"]
    }
  }

  dynamic "statement" {
    for_each = var.warehouse == null ? [] : [var.warehouse]

    content {
      sid     = "WarehouseTables"
      actions = ["glue:GetDatabase", "glue:GetTable", "glue:GetPartition", "glue:GetPartitions"]
      resources = [
        "${local.arn}:glue:${local.here}:catalog",
        "${local.arn}:glue:${local.here}:database/${statement.value.database}",
        "${local.arn}:glue:${local.here}:table/${statement.value.database}/*",
      ]
    }
  }

  dynamic "statement" {
    for_each = var.warehouse == null ? [] : [var.warehouse]

    content {
      sid       = "WarehouseRows"
      actions   = ["s3:GetObject"]
      resources = ["${local.arn}:s3:::${statement.value.bucket}/${statement.value.prefix}*"]
    }
  }

  # Athena lists the files of a table, and writes the manifest of a result to the workgroup's prefix, with the rights of whoever asks.
  dynamic "statement" {
    for_each = var.warehouse == null ? [] : [var.warehouse]

    content {
      sid       = "BucketsOfAthena"
      actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
      resources = ["${local.arn}:s3:::${statement.value.bucket}", var.lake_arn]
    }
  }

  dynamic "statement" {
    for_each = var.warehouse == null ? [] : [var.warehouse]

    content {
      sid       = "Results"
      actions   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
      resources = ["${var.lake_arn}/athena-results/*"]
    }
  }
}

# Tables of a sandbox may begin as those of another environment, and then refer to its files. They are read, never written.
data "aws_iam_policy_document" "readable" {
  dynamic "statement" {
    for_each = var.readable_environment == null ? [] : [var.readable_environment]

    content {
      sid       = "FilesOfAnotherEnvironment"
      actions   = ["s3:GetObject"]
      resources = [for bucket in statement.value.buckets : "${local.arn}:s3:::${bucket}/*"]
    }
  }

  dynamic "statement" {
    for_each = var.readable_environment == null ? [] : [var.readable_environment]

    content {
      sid       = "BucketsOfAnotherEnvironment"
      actions   = ["s3:ListBucket"]
      resources = [for bucket in statement.value.buckets : "${local.arn}:s3:::${bucket}"]
    }
  }

  # By the key's alias, because the id of another environment's key is not known here.
  dynamic "statement" {
    for_each = var.readable_environment == null ? [] : [var.readable_environment]

    content {
      sid       = "KeyOfAnotherEnvironment"
      actions   = ["kms:Decrypt"]
      resources = ["${local.arn}:kms:${local.here}:key/*"]

      condition {
        test     = "ForAnyValue:StringEquals"
        variable = "kms:ResourceAliases"
        values   = ["alias/rd-${statement.value.name}"]
      }
    }
  }
}

data "aws_iam_policy_document" "mlflow" {
  dynamic "statement" {
    for_each = strcontains(coalesce(var.mlflow_arn, "-"), ":mlflow-tracking-server/") ? [var.mlflow_arn] : []

    content {
      sid       = "Experiments"
      actions   = ["sagemaker-mlflow:*"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = strcontains(coalesce(var.mlflow_arn, "-"), ":mlflow-app/") ? [var.mlflow_arn] : []

    content {
      sid       = "ExperimentsOfAnApp"
      actions   = ["sagemaker:CallMlflowAppApi"]
      resources = [statement.value]
    }
  }
}

data "aws_iam_policy_document" "secret" {
  statement {
    sid       = "Passwords"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["${local.arn}:secretsmanager:${local.here}:secret:${var.name}/passwords-*"]
  }
}
