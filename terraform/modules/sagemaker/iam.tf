data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  arn  = "arn:${data.aws_partition.current.partition}"
  here = "${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"

  # Names apart from policies: the policy of Studio names the domain, and the domain has the role.
  roles = concat(
    ["pipeline"],
    var.create_mlflow ? ["mlflow"] : [],
    var.feature_group ? ["features"] : [],
    var.studio ? ["studio"] : [],
    var.endpoint == null ? [] : ["endpoint"],
  )
  policies = {
    pipeline = data.aws_iam_policy_document.pipeline.json
    mlflow   = data.aws_iam_policy_document.prefix["mlflow"].json
    features = data.aws_iam_policy_document.features.json
    studio   = data.aws_iam_policy_document.studio.json
    endpoint = data.aws_iam_policy_document.endpoint.json
  }
  domain = one(aws_sagemaker_domain.this[*].id)
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["sagemaker.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each = toset(local.roles)

  name                 = "${var.name}-${each.value}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "this" {
  for_each = toset(local.roles)

  name   = "ruter-dagster"
  role   = aws_iam_role.this[each.key].id
  policy = local.policies[each.key]
}

data "aws_iam_policy_document" "pipeline" {
  statement {
    sid = "Jobs"
    actions = [
      "sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob", "sagemaker:StopProcessingJob",
      "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob", "sagemaker:AddTags",
    ]
    # A pipeline names its jobs itself: pipelines-<execution>-<step>.
    resources = [for kind in ["processing", "training"] : "${local.arn}:sagemaker:${local.here}:${kind}-job/pipelines-*"]
  }

  statement {
    sid       = "RolesOfJobs"
    actions   = ["iam:PassRole"]
    resources = var.job_role_arns

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }

  # SageMaker watches the jobs of a pipeline by rules that it makes and names itself.
  statement {
    sid       = "Events"
    actions   = ["events:PutTargets", "events:PutRule", "events:DescribeRule"]
    resources = ["${local.arn}:events:${local.here}:rule/SageMakerPipelineExecutionEventsStatus*"]
  }
}

data "aws_iam_policy_document" "prefix" {
  for_each = toset(["mlflow", "feature-store"])

  statement {
    sid       = "Objects"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${var.lake_arn}/${var.lake_prefix}/${each.value}/*"]
  }

  statement {
    sid       = "Bucket"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketAcl"]
    resources = [var.lake_arn]
  }

  statement {
    sid       = "Keys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
    resources = [var.kms_key_arn]
  }
}

# As AWS's policy AmazonSageMakerFeatureStoreAccess, for this environment alone. SageMaker names the Glue database and the tables of all feature groups.
data "aws_iam_policy_document" "features" {
  source_policy_documents = [data.aws_iam_policy_document.prefix["feature-store"].json]

  statement {
    sid       = "OwnersOfObjects"
    actions   = ["s3:PutObjectAcl"]
    resources = ["${var.lake_arn}/${var.lake_prefix}/feature-store/*"]
  }

  statement {
    sid     = "Tables"
    actions = ["glue:GetTable", "glue:UpdateTable"]
    resources = concat(
      ["${local.arn}:glue:${local.here}:catalog", "${local.arn}:glue:${local.here}:database/sagemaker_featurestore"],
      [for group in ["${var.name}-", "${replace(var.name, "-", "_")}_"] : "${local.arn}:glue:${local.here}:table/sagemaker_featurestore/${group}*"],
    )
  }
}

data "aws_iam_policy_document" "studio" {
  statement {
    sid       = "Pipelines"
    actions   = ["sagemaker:StartPipelineExecution", "sagemaker:StopPipelineExecution", "sagemaker:RetryPipelineExecution"]
    resources = ["${local.arn}:sagemaker:${local.here}:pipeline/${var.name}-*"]
  }

  statement {
    sid       = "Own"
    actions   = ["sagemaker:DescribeDomain", "sagemaker:DescribeUserProfile", "sagemaker:CreateApp", "sagemaker:DeleteApp", "sagemaker:DescribeApp", "sagemaker:CreatePresignedDomainUrl"]
    resources = local.domain == null ? [] : [for kind in ["domain/${local.domain}", "user-profile/${local.domain}/*", "app/${local.domain}/*", "space/${local.domain}/*"] : "${local.arn}:sagemaker:${local.here}:${kind}"]
  }

  # Lists of jobs, pipelines and models: SageMaker offers no resource for them.
  statement {
    sid       = "Lists"
    actions   = ["sagemaker:List*", "sagemaker:Search"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [data.aws_region.current.name]
    }
  }

  statement {
    sid       = "Describe"
    actions   = ["sagemaker:DescribePipeline", "sagemaker:DescribePipelineExecution", "sagemaker:DescribeProcessingJob", "sagemaker:DescribeTrainingJob", "sagemaker:DescribeModelPackage"]
    resources = ["${local.arn}:sagemaker:${local.here}:*/*"]
  }
}

data "aws_iam_policy_document" "endpoint" {
  statement {
    sid       = "Model"
    actions   = ["s3:GetObject"]
    resources = ["${var.lake_arn}/${var.lake_prefix}/artifacts/models/*"]
  }

  statement {
    sid       = "Keys"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]
  }

  statement {
    sid       = "LogLines"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.arn}:logs:${local.here}:log-group:/aws/sagemaker/Endpoints/*"]
  }
}
