# What `make definitions` renders from the code: pipelines, Athena's views, columns of features, the dashboard.
module "definitions" {
  source = "../modules/definitions"

  folder     = "${path.module}/rendered"
  repository = "${path.module}/../.."
}

locals {
  definitions = module.definitions.definitions

  # The folder of pipelines. Steps depend on the source: without a timetable, a date is planned from its counts. An operator or a
  # warehouse of one's own has no templates, because versions of assets depend on files that are not in the repository.
  timetable = var.source_settings.gtfs_path == null ? "" : "-timetable"
  pipelines = {
    demo  = contains(["demo", "-"], coalesce(var.source_settings.operator, "-")) ? "demo" : "none"
    tides = contains(["ruter", "-"], coalesce(var.source_settings.operator, "-")) ? "tides${local.timetable}" : "none"
  }
  pipeline_folder = "${path.module}/rendered/pipelines/${lookup(local.pipelines, var.source_settings.source, "none")}"

  # What a job of Dagster gets from the settings of its run.
  job_variables = merge(
    { for name, value in local.variables : name => value if !contains(local.definitions.not_for_jobs, name) },
    { AWS_REGION = var.region },
  )
  pipeline_values = merge(
    {
      image            = var.jobs_image
      artifacts        = "s3://${module.storage.lake_bucket}/${local.lake_prefix}/artifacts"
      kms_key          = module.storage.kms_key_arn
      environment_name = var.environment
      branch           = var.branch
      source           = var.source_name
      subnets          = jsonencode(module.network.private_subnet_ids)
      security_groups  = jsonencode([module.network.jobs_security_group_id])

      # Only the role of a job that uses Kafka may read the secret.
      environment            = jsonencode({ for name, value in local.job_variables : name => value if !can(regex("^(KAFKA_|RUTER_KAFKA_|RUTER_SCHEMA_REGISTRY_|RUTER_SECRETS$)", name)) })
      environment_with_kafka = jsonencode(local.job_variables)
    },
    { for job in local.definitions.jobs : "role_${job}" => lookup(module.iam.role_of_job, job, module.iam.job_role_arns["tables"]) },
  )
  pipeline_definitions = {
    for file in fileset(local.pipeline_folder, "*.json.tftpl") :
    trimsuffix(file, ".json.tftpl") => templatefile("${local.pipeline_folder}/${file}", local.pipeline_values)
  }
}

module "bi" {
  source = "../modules/bi"
  count  = var.quicksight == null ? 0 : 1

  name                 = local.name
  workgroup            = module.catalog.workgroup
  database             = module.catalog.database_of_views
  lake_arn             = module.storage.lake_arn
  lake_prefix          = local.lake_prefix
  kms_key_arn          = module.storage.kms_key_arn
  readable_policy      = module.iam.readable_policy
  permissions_boundary = var.permissions_boundary
  views                = local.definitions.views
  definition           = local.definitions.dashboard
  readers_arn          = var.quicksight.readers_arn
  spice                = !local.sandbox
}
