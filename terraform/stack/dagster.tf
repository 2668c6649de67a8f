locals {
  kafka_ports = distinct([for server in split(",", var.kafka.bootstrap_servers) : tonumber(regex(":([0-9]+)$", trimspace(server))[0])])

  # Protocol, and port or null. Jobs reach port 443 anyway.
  registry       = try(regex("^(https?)://[^/:]+(?::([0-9]+))?", var.kafka.schema_registry_url), null)
  registry_ports = [for port in local.registry == null ? [] : [try(tonumber(coalesce(local.registry[1])), local.registry[0] == "https" ? 443 : 80)] : port if port != 443]

  # Each variable is a setting of docs/settings.md. Passwords come from the secret.
  variables = { for name, value in {
    RUTER_ENVIRONMENT               = var.environment
    RUTER_BRANCH                    = var.branch
    RUTER_COMMIT                    = var.commit
    RUTER_SOURCE                    = var.source_settings.source
    RUTER_TIDES_PATH                = var.source_settings.source == "tides" ? "s3://${local.raw_bucket}/${trimsuffix(var.raw_prefix, "/")}" : null
    RUTER_GTFS_PATH                 = var.source_settings.gtfs_path
    RUTER_WAREHOUSE_FILE            = var.source_settings.warehouse_file
    RUTER_OPERATOR                  = var.source_settings.operator
    RUTER_HISTORY_START             = var.source_settings.history_start
    RUTER_LAKE                      = "s3://${module.storage.lake_bucket}/lake"
    RUTER_GLUE_DATABASE             = module.catalog.database
    RUTER_MLFLOW_TRACKING_URI       = local.mlflow_address
    RUTER_SECRETS                   = module.secrets.arn
    RUTER_SAGEMAKER_IMAGE           = var.jobs_image
    RUTER_SAGEMAKER_ROLE            = module.iam.job_role_arns["tables"]
    RUTER_SAGEMAKER_ROLES           = join(",", [for job, role in module.iam.role_of_job : "${job}=${role}"])
    RUTER_SAGEMAKER_SUBNETS         = join(",", module.network.private_subnet_ids)
    RUTER_SAGEMAKER_SECURITY_GROUPS = module.network.jobs_security_group_id
    RUTER_SAGEMAKER_KMS_KEY         = module.storage.kms_key_arn
    RUTER_JOB_EVENTS_QUEUE          = module.events.queue_urls["jobs"]
    RUTER_ARRIVALS_QUEUE            = module.events.queue_urls["arrivals"]
    RUTER_SLACK_CHANNEL             = var.slack_channel
    RUTER_ALERTS_TOPIC              = length(var.alarm_emails) == 0 ? null : local.alarms_topic
    KAFKA_BOOTSTRAP_SERVERS         = var.kafka.bootstrap_servers
    RUTER_KAFKA_TOPIC_PREFIX        = "${var.environment}."
    RUTER_KAFKA_SECURITY_PROTOCOL   = var.kafka.security_protocol
    RUTER_KAFKA_SASL_MECHANISM      = var.kafka.sasl_mechanism
    RUTER_KAFKA_SASL_USERNAME       = var.kafka.sasl_username
    RUTER_KAFKA_REPLICATION         = tostring(var.kafka.replication)
    RUTER_SCHEMA_REGISTRY_URL       = var.kafka.schema_registry_url
    RUTER_SCHEMA_REGISTRY_USERNAME  = var.kafka.schema_registry_username
  } : name => value if value != null && value != "" }
}
