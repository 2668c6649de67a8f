data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  region    = data.aws_region.current.name
  arn       = "arn:${data.aws_partition.current.partition}"
  here      = "${local.region}:${local.account}"
  dashboard = "${var.name}-forecasts"

  # QuickSight's names of the types that Athena's views have.
  types = { varchar = "STRING", date = "DATETIME", timestamp = "DATETIME", bigint = "INTEGER", integer = "INTEGER", double = "DECIMAL", boolean = "BOOLEAN" }

  import_modes = { for name, view in var.views : name => var.spice ? view.import_mode : "DIRECT_QUERY" }

  # Each list is one of the sets of actions that QuickSight knows. Analyses have no set for readers alone.
  reader_actions = {
    data_source = ["quicksight:DescribeDataSource", "quicksight:DescribeDataSourcePermissions", "quicksight:PassDataSource"]
    data_set    = ["quicksight:DescribeDataSet", "quicksight:DescribeDataSetPermissions", "quicksight:PassDataSet", "quicksight:DescribeIngestion", "quicksight:ListIngestions"]
    dashboard   = ["quicksight:DescribeDashboard", "quicksight:ListDashboardVersions", "quicksight:QueryDashboard"]
    folder      = ["quicksight:DescribeFolder"]
    analysis = [
      "quicksight:DescribeAnalysis", "quicksight:DescribeAnalysisPermissions", "quicksight:QueryAnalysis", "quicksight:UpdateAnalysis",
      "quicksight:UpdateAnalysisPermissions", "quicksight:DeleteAnalysis", "quicksight:RestoreAnalysis",
    ]
  }
}

resource "aws_quicksight_data_set" "this" {
  for_each = var.views

  data_set_id = "${var.name}-${each.key}"
  name        = each.key
  import_mode = local.import_modes[each.key]

  physical_table_map {
    physical_table_map_id = "view"

    relational_table {
      data_source_arn = "${local.arn}:quicksight:${local.here}:datasource/${var.name}"
      catalog         = "AwsDataCatalog"
      schema          = var.database
      name            = each.key

      dynamic "input_columns" {
        for_each = each.value.columns

        content {
          name = input_columns.value.name
          type = local.types[input_columns.value.presto_type]
        }
      }
    }
  }

  permissions {
    principal = var.readers_arn
    actions   = local.reader_actions.data_set
  }

  depends_on = [aws_cloudformation_stack.data_source]
}

resource "aws_quicksight_refresh_schedule" "this" {
  for_each = toset([for name, mode in local.import_modes : name if mode == "SPICE"])

  data_set_id = aws_quicksight_data_set.this[each.key].data_set_id
  schedule_id = "daily"

  schedule {
    refresh_type = "FULL_REFRESH"

    schedule_frequency {
      interval        = "DAILY"
      time_of_the_day = var.refresh_at
      timezone        = var.time_zone
    }
  }
}

locals {
  page = {
    AwsAccountId = local.account
    Name         = "Forecasts of ${var.name}"
    Definition = merge(jsondecode(var.definition), {
      DataSetIdentifierDeclarations = [for set in keys(var.views) : { Identifier = set, DataSetArn = "${local.arn}:quicksight:${local.here}:dataset/${var.name}-${set}" }]
    })
  }

  pages = {
    analysis = {
      Type       = "AWS::QuickSight::Analysis"
      Properties = merge(local.page, { AnalysisId = local.dashboard, Permissions = [{ Principal = var.readers_arn, Actions = local.reader_actions.analysis }] })
    }
    dashboard = {
      Type       = "AWS::QuickSight::Dashboard"
      Properties = merge(local.page, { DashboardId = local.dashboard, Permissions = [{ Principal = var.readers_arn, Actions = local.reader_actions.dashboard }] })
    }
  }
}

# CloudFormation, because the provider's `definition` blocks show a difference on every plan (terraform-provider-aws #36733).
# One stack each, because a template may have 51,200 bytes.
resource "aws_cloudformation_stack" "pages" {
  # checkov:skip=CKV_AWS_124:Terraform waits for the stack, and fails with its reason
  for_each = local.pages

  name = "${var.name}-${each.key}"

  template_body = jsonencode({
    AWSTemplateFormatVersion = "2010-09-09"
    Description              = "Forecasts and their accuracy: ${each.key}"
    Resources                = { Page = each.value }
  })

  # A data set must outlive what shows it.
  depends_on = [aws_quicksight_data_set.this]
}

resource "aws_quicksight_folder" "this" {
  folder_id = var.name
  name      = var.name

  permissions {
    principal = var.readers_arn
    actions   = local.reader_actions.folder
  }
}

resource "aws_quicksight_folder_membership" "dashboard" {
  folder_id   = aws_quicksight_folder.this.folder_id
  member_type = "DASHBOARD"
  member_id   = local.dashboard

  depends_on = [aws_cloudformation_stack.pages]
}
