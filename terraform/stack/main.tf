locals {
  name        = "rd-${var.environment}"
  sandbox     = startswith(var.environment, "s-")
  lake_prefix = "lake/${var.environment}/${var.source_name}"

  tags = {
    project     = "ruter-dagster"
    environment = var.environment
    branch      = var.branch
    commit      = var.commit
  }

  # Networks of different addresses can be connected with the same third one. A sandbox's 1,024 possible ranges follow from the hash in its id.
  environments = ["dev", "test", "stage", "prod"]
  range        = local.sandbox ? parseint(substr(var.environment, -6, 6), 16) % 1024 : index(local.environments, var.environment)
  cidr         = coalesce(var.cidr, local.sandbox ? cidrsubnet("10.64.0.0/10", 10, local.range) : cidrsubnet("10.20.0.0/14", 2, local.range))

  domain = var.domain == null ? null : { name = replace(var.domain.name, "*", var.environment), zone_id = var.domain.zone_id }

  raw_bucket = coalesce(var.raw_bucket, module.storage.raw_bucket)
  account    = data.aws_caller_identity.current.account_id

  # By name, not by reference: alarms name the containers, and the containers name the topic.
  alarms_topic = "arn:aws:sns:${var.region}:${local.account}:${local.name}-alarms"

  # By name, not by reference: roles name the server, and the server has a role.
  own_mlflow = "arn:aws:sagemaker:${var.region}:${local.account}:mlflow-tracking-server/${local.name}"
  # Without MLflow, trainings are recorded in Dagster only.
  mlflow_address = coalesce(local.mlflow_arn, var.mlflow_url, "none")
  mlflow_arn     = var.mlflow_arn == null && var.create_mlflow ? local.own_mlflow : var.mlflow_arn
}

data "aws_caller_identity" "current" {}

module "storage" {
  source = "../modules/storage"

  name              = local.name
  protected         = var.protected
  lake_prefix       = local.lake_prefix
  create_raw_bucket = var.raw_bucket == null
  log_days          = var.log_days
}

module "catalog" {
  source = "../modules/catalog"

  name           = local.name
  lake_bucket    = module.storage.lake_bucket
  lake_prefix    = local.lake_prefix
  kms_key_arn    = module.storage.kms_key_arn
  query_limit_gb = var.query_limit_gb
  views          = local.definitions.views
}

module "network" {
  source = "../modules/network"

  name                 = local.name
  cidr                 = local.cidr
  nat_gateway          = var.nat_gateway
  interface_endpoints  = var.interface_endpoints
  kafka_cidrs          = var.kafka.cidrs
  kafka_ports          = distinct(concat(local.kafka_ports, local.registry_ports))
  kms_key_arn          = module.storage.kms_key_arn
  log_days             = var.log_days
  permissions_boundary = var.permissions_boundary
}

module "events" {
  source = "../modules/events"

  name        = local.name
  raw_bucket  = local.raw_bucket
  raw_prefix  = var.raw_prefix
  kms_key_arn = module.storage.kms_key_arn
}

module "iam" {
  source = "../modules/iam"

  name                        = local.name
  lake_arn                    = module.storage.lake_arn
  lake_prefix                 = local.lake_prefix
  logs_arn                    = module.storage.logs_arn
  kms_key_arn                 = module.storage.kms_key_arn
  database                    = module.catalog.database
  workgroup                   = module.catalog.workgroup
  raw_bucket                  = local.raw_bucket
  raw_prefix                  = var.raw_prefix
  warehouse                   = var.warehouse
  readable_environment        = var.readable_environment
  mlflow_arn                  = local.mlflow_arn
  subnet_ids                  = module.network.private_subnet_ids
  security_group_id           = module.network.jobs_security_group_id
  queue_arns                  = module.events.queue_arns
  jobs_repository_arn         = var.repository_arns.jobs
  orchestrator_repository_arn = var.repository_arns.orchestrator
  permissions_boundary        = var.permissions_boundary
}

module "secrets" {
  source = "../modules/secrets"

  name        = local.name
  kms_key_arn = module.storage.kms_key_arn
  protected   = var.protected
  reader_arns = [module.iam.job_role_arns["publish"], module.iam.orchestrator_role_arn]
}

module "sagemaker" {
  source = "../modules/sagemaker"

  name                 = local.name
  protected            = var.protected
  lake_bucket          = module.storage.lake_bucket
  lake_prefix          = local.lake_prefix
  kms_key_arn          = module.storage.kms_key_arn
  pipeline_definitions = local.pipeline_definitions
  feature_group        = var.feature_group
  features             = local.definitions.features
  create_mlflow        = var.create_mlflow
  studio               = var.studio
  endpoint             = var.endpoint
  lake_arn             = module.storage.lake_arn
  job_role_arns        = values(module.iam.job_role_arns)
  permissions_boundary = var.permissions_boundary
  vpc_id               = module.network.vpc_id
  subnet_ids           = module.network.private_subnet_ids
  security_group_id    = module.network.jobs_security_group_id
}

module "dagster" {
  source = "../modules/dagster"

  name              = local.name
  image             = var.orchestrator_image
  environment       = local.variables
  sizes             = var.sizes
  protected         = var.protected
  wait_for_services = var.wait_for_services

  database_password_version = var.database_password_version
  vpc_id                    = module.network.vpc_id
  private_subnet_ids        = module.network.private_subnet_ids
  public_subnet_ids         = module.network.public_subnet_ids
  allowed_cidrs             = var.allowed_cidrs
  kafka_cidrs               = var.kafka.cidrs
  kafka_ports               = local.kafka_ports
  domain                    = local.domain
  certificate_arn           = var.certificate_arn
  login                     = var.login
  login_client_secret       = var.login_client_secret
  orchestrator_role_arn     = module.iam.orchestrator_role_arn
  execution_role_arn        = module.iam.execution_role_arn
  logs_bucket               = module.storage.logs_bucket
  kms_key_arn               = module.storage.kms_key_arn
  log_days                  = var.log_days
  permissions_boundary      = var.permissions_boundary
}

module "observability" {
  source = "../modules/observability"

  providers = {
    aws      = aws
    aws.chat = aws.chat
  }

  name                 = local.name
  environment          = var.environment
  kms_key_arn          = module.storage.kms_key_arn
  log_groups           = module.dagster.log_groups
  cluster              = module.dagster.cluster
  database             = module.dagster.database
  load_balancer        = module.dagster.load_balancer
  target_group         = module.dagster.target_group
  queues               = module.events.queues
  dead_letter_queues   = module.events.dead_letter_queues
  alarm_emails         = var.alarm_emails
  slack                = var.slack
  budget_usd           = var.budget_usd
  permissions_boundary = var.permissions_boundary
}
