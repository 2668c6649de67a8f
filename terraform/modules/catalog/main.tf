locals {
  database = replace(var.name, "-", "_")
}

# The project creates and changes the Iceberg tables itself: each commit updates a table's parameters in Glue.
resource "aws_glue_catalog_database" "this" {
  name         = local.database
  description  = "Tables of ${var.name}: raw data, features, forecasts and their accuracy"
  location_uri = "s3://${var.lake_bucket}/${var.lake_prefix}/warehouse"
}

resource "aws_athena_workgroup" "this" {
  name          = var.name
  description   = "Queries of ${var.name}: dashboards, reports and people"
  force_destroy = true

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.query_limit_gb * 1024 * 1024 * 1024

    result_configuration {
      output_location = "s3://${var.lake_bucket}/athena-results/"

      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = var.kms_key_arn
      }
    }
  }
}

# An Athena view is a Glue table with the query in base64. Glue checks no table that it names, so views may come first.
resource "aws_glue_catalog_table" "view" {
  for_each = var.views

  database_name      = aws_glue_catalog_database.this.name
  name               = each.key
  description        = each.value.description
  table_type         = "VIRTUAL_VIEW"
  view_expanded_text = "/* Presto View */"

  view_original_text = format("/* Presto View: %s */", base64encode(jsonencode({
    originalSql = replace(each.value.sql, "$${database}", aws_glue_catalog_database.this.name)
    catalog     = "awsdatacatalog"
    schema      = aws_glue_catalog_database.this.name
    columns     = [for column in each.value.columns : { name = column.name, type = column.presto_type }]
  })))

  parameters = {
    presto_view = "true"
    comment     = "Presto View"
  }

  storage_descriptor {
    dynamic "columns" {
      for_each = each.value.columns

      content {
        name = columns.value.name
        type = columns.value.hive_type
      }
    }

    # Athena needs the block, and uses nothing of it for a view. Glue returns an empty one as none.
    ser_de_info {
      name                  = "-"
      serialization_library = "-"
    }
  }
}
