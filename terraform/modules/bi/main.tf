data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  arn  = "arn:${data.aws_partition.current.partition}:quicksight:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  sets = var.enabled ? var.views : {}

  # QuickSight's names of the types that Athena's views have.
  types = { varchar = "STRING", date = "DATETIME", timestamp = "DATETIME", bigint = "INTEGER", integer = "INTEGER", double = "DECIMAL", boolean = "BOOLEAN" }

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

resource "aws_quicksight_data_source" "this" {
  count = var.enabled ? 1 : 0

  data_source_id = var.name
  name           = var.name
  type           = "ATHENA"

  parameters {
    athena {
      work_group = var.workgroup
    }
  }

  permission {
    principal = var.readers_arn
    actions   = local.reader_actions.data_source
  }

  ssl_properties {
    disable_ssl = false
  }
}

resource "aws_quicksight_data_set" "this" {
  for_each = local.sets

  data_set_id = "${var.name}-${each.key}"
  name        = each.key
  import_mode = each.value.import_mode

  physical_table_map {
    physical_table_map_id = "view"

    relational_table {
      data_source_arn = aws_quicksight_data_source.this[0].arn
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
}

resource "aws_quicksight_refresh_schedule" "this" {
  for_each = { for name, view in local.sets : name => view if view.import_mode == "SPICE" }

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

resource "aws_quicksight_folder" "this" {
  count = var.enabled ? 1 : 0

  folder_id = var.name
  name      = var.name

  permissions {
    principal = var.readers_arn
    actions   = local.reader_actions.folder
  }
}

resource "aws_quicksight_folder_membership" "dashboard" {
  count = var.enabled ? 1 : 0

  folder_id   = aws_quicksight_folder.this[0].folder_id
  member_type = "DASHBOARD"
  member_id   = "${var.name}-forecasts"

  depends_on = [aws_cloudformation_stack.dashboard]
}

# CloudFormation, because the provider's `definition` blocks show a difference on every plan (terraform-provider-aws #36733).
resource "aws_cloudformation_stack" "dashboard" {
  count = var.enabled ? 1 : 0

  name = "${var.name}-dashboard"

  template_body = jsonencode({
    AWSTemplateFormatVersion = "2010-09-09"
    Description              = "Dashboard of forecasts and their accuracy"
    Resources = {
      Analysis  = { Type = "AWS::QuickSight::Analysis", Properties = merge(local.page, { AnalysisId = "${var.name}-forecasts", Permissions = [{ Principal = var.readers_arn, Actions = local.reader_actions.analysis }] }) }
      Dashboard = { Type = "AWS::QuickSight::Dashboard", Properties = merge(local.page, { DashboardId = "${var.name}-forecasts", Permissions = [{ Principal = var.readers_arn, Actions = local.reader_actions.dashboard }] }) }
    }
  })

  depends_on = [aws_quicksight_data_set.this]
}

locals {
  page = {
    AwsAccountId = data.aws_caller_identity.current.account_id
    Name         = "Forecasts of ${var.name}"
    Definition = merge(jsondecode(var.definition), {
      DataSetIdentifierDeclarations = [for view in keys(local.sets) : { Identifier = view, DataSetArn = "${local.arn}:dataset/${var.name}-${view}" }]
    })
  }
}
