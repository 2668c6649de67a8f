resource "aws_sagemaker_model_package_group" "this" {
  model_package_group_name        = "${var.name}-load-model"
  model_package_group_description = "Champions of ${var.name}"
}

# Offline only: training and forecasts read the Iceberg tables. The feature group shows the features in Studio.
resource "aws_sagemaker_feature_group" "this" {
  count = var.feature_group ? 1 : 0

  feature_group_name             = "${var.name}-departure-features"
  record_identifier_feature_name = "departure_id"
  event_time_feature_name        = "event_time"
  role_arn                       = aws_iam_role.this["features"].arn

  dynamic "feature_definition" {
    for_each = merge({ departure_id = "String", event_time = "String" }, var.features)

    content {
      feature_name = feature_definition.key
      feature_type = feature_definition.value
    }
  }

  offline_store_config {
    s3_storage_config {
      s3_uri     = "s3://${var.lake_bucket}/${var.lake_prefix}/feature-store"
      kms_key_id = var.kms_key_arn
    }

    table_format = "Iceberg"
  }
}

resource "aws_sagemaker_pipeline" "this" {
  for_each = var.pipeline_definitions

  pipeline_name         = "${var.name}-${each.key}"
  pipeline_display_name = "${var.name}-${each.key}"
  pipeline_description  = "The ${each.key} chain, to look at and to start in Studio. Dagster does not use it."
  role_arn              = aws_iam_role.this["pipeline"].arn
  pipeline_definition   = jsonencode(jsondecode(each.value))
}

resource "aws_sagemaker_mlflow_tracking_server" "this" {
  count = var.create_mlflow ? 1 : 0

  tracking_server_name            = var.name
  tracking_server_size            = "Small"
  artifact_store_uri              = "s3://${var.lake_bucket}/${var.lake_prefix}/mlflow"
  role_arn                        = aws_iam_role.this["mlflow"].arn
  automatic_model_registration    = false
  weekly_maintenance_window_start = "Tue:03:30"
}

resource "aws_sagemaker_domain" "this" {
  count = var.studio ? 1 : 0

  domain_name             = var.name
  auth_mode               = "IAM"
  app_network_access_type = "VpcOnly"
  vpc_id                  = var.vpc_id
  subnet_ids              = var.subnet_ids
  kms_key_id              = var.kms_key_arn

  default_user_settings {
    execution_role  = aws_iam_role.this["studio"].arn
    security_groups = [var.security_group_id]
  }

  # The file system of notebooks has no copy elsewhere.
  retention_policy {
    home_efs_file_system = var.protected ? "Retain" : "Delete"
  }
}

resource "aws_sagemaker_model" "this" {
  count = var.endpoint == null ? 0 : 1

  name                     = "${var.name}-load-model"
  execution_role_arn       = aws_iam_role.this["endpoint"].arn
  enable_network_isolation = true

  primary_container {
    image          = var.endpoint.image
    model_data_url = var.endpoint.model_data_url
  }

  vpc_config {
    subnets            = var.subnet_ids
    security_group_ids = [var.security_group_id]
  }
}

resource "aws_sagemaker_endpoint_configuration" "this" {
  count = var.endpoint == null ? 0 : 1

  name_prefix = "${var.name}-"
  kms_key_arn = var.kms_key_arn

  production_variants {
    variant_name           = "champion"
    model_name             = aws_sagemaker_model.this[0].name
    initial_instance_count = 1
    instance_type          = var.endpoint.instance_type
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_sagemaker_endpoint" "this" {
  count = var.endpoint == null ? 0 : 1

  name                 = "${var.name}-load-model"
  endpoint_config_name = aws_sagemaker_endpoint_configuration.this[0].name
}
