# QuickSight queries Athena with a role of this environment, so that nobody has to allow each new bucket and key in QuickSight's console.
resource "aws_iam_role" "this" {
  name                 = "${var.name}-quicksight"
  description          = "QuickSight reads the views of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy" "this" {
  name   = "read-views"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.read_views.json
}

# QuickSight takes only roles of its own account, and only from callers who may pass them.
data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["quicksight.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "read_views" {
  source_policy_documents = [var.readable_policy]

  statement {
    sid = "Queries"
    actions = [
      "athena:BatchGetQueryExecution", "athena:GetQueryExecution", "athena:GetQueryResults", "athena:GetQueryResultsStream", "athena:GetWorkGroup",
      "athena:ListQueryExecutions", "athena:StartQueryExecution", "athena:StopQueryExecution",
    ]
    resources = ["${local.arn}:athena:${local.here}:workgroup/${var.workgroup}"]
  }

  statement {
    sid       = "Columns"
    actions   = ["athena:GetDataCatalog", "athena:GetDatabase", "athena:GetTableMetadata", "athena:ListDatabases", "athena:ListTableMetadata"]
    resources = ["${local.arn}:athena:${local.here}:datacatalog/AwsDataCatalog"]
  }

  statement {
    sid     = "Tables"
    actions = ["glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:GetPartition", "glue:GetPartitions"]
    resources = [
      "${local.arn}:glue:${local.here}:catalog",
      "${local.arn}:glue:${local.here}:database/${var.database}",
      "${local.arn}:glue:${local.here}:table/${var.database}/*",
    ]
  }

  statement {
    sid       = "Rows"
    actions   = ["s3:GetObject"]
    resources = ["${var.lake_arn}/${var.lake_prefix}/warehouse/*"]
  }

  # Athena writes a result as this role before QuickSight reads it.
  statement {
    sid       = "Results"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = ["${var.lake_arn}/athena-results/*"]
  }

  statement {
    sid       = "Bucket"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [var.lake_arn]
  }

  statement {
    sid       = "Keys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]
  }
}

# CloudFormation, because the data source of provider 5 has no `role_arn` (terraform-provider-aws #41793).
resource "aws_cloudformation_stack" "data_source" {
  # checkov:skip=CKV_AWS_124:Terraform waits for the stack, and fails with its reason
  name = "${var.name}-data-source"

  template_body = jsonencode({
    AWSTemplateFormatVersion = "2010-09-09"
    Description              = "Athena as a data source of QuickSight"
    Resources = {
      DataSource = {
        Type = "AWS::QuickSight::DataSource"
        Properties = {
          AwsAccountId         = local.account
          DataSourceId         = var.name
          Name                 = var.name
          Type                 = "ATHENA"
          DataSourceParameters = { AthenaParameters = { WorkGroup = var.workgroup, RoleArn = aws_iam_role.this.arn } }
          SslProperties        = { DisableSsl = false }
          Permissions          = [{ Principal = var.readers_arn, Actions = local.reader_actions.data_source }]
        }
      }
    }
  })

  # QuickSight tries a query when a data source is created.
  depends_on = [aws_iam_role_policy.this]
}
