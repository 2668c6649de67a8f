# Which values the stack refuses. Run with `terraform test`; no AWS is called.

# A real provider with keys of nobody, which calls nothing for these plans: a mock would have no ephemeral resources.
provider "aws" {
  region                      = "eu-north-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

provider "aws" {
  alias                       = "chat"
  region                      = "eu-west-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.iam.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.sagemaker.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.storage.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.observability.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = module.network.data.aws_availability_zones.available
  values = { names = ["eu-north-1a", "eu-north-1b", "eu-north-1c"] }
}

variables {
  environment        = "dev"
  branch             = "main"
  commit             = "0123456789abcdef0123456789abcdef01234567"
  protected          = false
  repository_arns    = { jobs = "arn:aws:ecr:eu-north-1:123456789012:repository/rd-jobs", orchestrator = "arn:aws:ecr:eu-north-1:123456789012:repository/rd-dagster" }
  jobs_image         = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-jobs@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  orchestrator_image = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-dagster@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  kafka              = { bootstrap_servers = "broker-1.example.org:9096,broker-2.example.org:9096", cidrs = ["10.0.0.0/24"] }
  certificate_arn    = "arn:aws:acm:eu-north-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef"
  mlflow_url         = "https://mlflow.example.org"
  nat_gateway        = true
  create_mlflow      = false
  studio             = false
  feature_group      = false
  budget_usd         = 100

  # Ephemeral resources would be opened.
  database_password_version = 0

  sizes = {
    code     = { cpu = 512, memory = 2048 }
    web      = { cpu = 512, memory = 1024 }
    daemon   = { cpu = 512, memory = 1024 }
    run      = { cpu = 1024, memory = 4096 }
    database = "db.t4g.micro"
  }
}

run "accepts_the_values_above" {
  command = plan
}

run "accepts_the_longest_id_of_a_sandbox" {
  command = plan

  variables {
    environment = "s-abcdefgh-0123ab"
  }
}

run "refuses_an_unknown_environment" {
  command = plan

  variables {
    environment = "production"
  }

  expect_failures = [var.environment]
}

run "refuses_an_id_of_a_sandbox_without_a_hash" {
  command = plan

  variables {
    environment = "s-mybranch"
  }

  expect_failures = [var.environment]
}

run "refuses_an_id_of_a_sandbox_with_a_long_slug" {
  command = plan

  variables {
    environment = "s-abcdefghi-0123ab"
  }

  expect_failures = [var.environment]
}

run "refuses_a_branch_with_letters_that_tags_do_not_allow" {
  command = plan

  variables {
    branch = "feature/økt"
  }

  expect_failures = [var.branch]
}

run "refuses_a_commit_that_is_a_branch" {
  command = plan

  variables {
    commit = "main"
  }

  expect_failures = [var.commit]
}

run "refuses_an_image_of_the_jobs_by_tag" {
  command = plan

  variables {
    jobs_image = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-jobs:latest"
  }

  expect_failures = [var.jobs_image]
}

run "refuses_an_unknown_source" {
  command = plan

  variables {
    source_settings = { source = "gtfs" }
  }

  expect_failures = [var.source_settings]
}

run "refuses_a_kafka_server_without_a_port" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org", cidrs = ["10.0.0.0/24"] }
  }

  expect_failures = [var.kafka]
}

run "refuses_days_that_cloudwatch_does_not_offer" {
  command = plan

  variables {
    log_days = 45
  }

  expect_failures = [var.log_days]
}

run "refuses_a_region_without_the_api_of_slack_channels" {
  command = plan

  variables {
    chat_region = "eu-north-1"
  }

  expect_failures = [var.chat_region]
}

run "accepts_endpoints_instead_of_a_nat_gateway" {
  command = plan

  variables {
    nat_gateway         = false
    interface_endpoints = ["athena", "ec2", "ecr.api", "ecr.dkr", "ecs", "glue", "kms", "logs", "monitoring", "sagemaker.api", "secretsmanager", "sqs", "sts"]
  }
}

run "refuses_repository_arns_that_are_addresses" {
  command = plan

  variables {
    repository_arns = { jobs = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-jobs", orchestrator = "arn:aws:ecr:eu-north-1:123456789012:repository/rd-dagster" }
  }

  expect_failures = [var.repository_arns]
}

run "refuses_addresses_of_a_network_that_is_too_small" {
  command = plan

  variables {
    cidr = "10.20.0.0/28"
  }

  expect_failures = [var.cidr]
}

run "refuses_a_network_without_a_way_to_aws" {
  command = plan

  variables {
    nat_gateway = false
  }

  expect_failures = [var.interface_endpoints]
}

run "refuses_a_network_without_the_endpoint_of_a_service" {
  command = plan

  variables {
    nat_gateway         = false
    interface_endpoints = ["athena", "ec2", "ecr.api", "ecr.dkr", "ecs", "glue", "kms", "logs", "monitoring", "sagemaker.api", "secretsmanager", "sqs"]
  }

  expect_failures = [var.interface_endpoints]
}

run "refuses_receivers_of_alerts_without_the_endpoint_of_sns" {
  command = plan

  variables {
    nat_gateway         = false
    interface_endpoints = ["athena", "ec2", "ecr.api", "ecr.dkr", "ecs", "glue", "kms", "logs", "monitoring", "sagemaker.api", "secretsmanager", "sqs", "sts"]
    alarm_emails        = ["alarms@example.org"]
  }

  expect_failures = [var.interface_endpoints]
}

run "refuses_a_password_in_the_address_of_the_schema_registry" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["10.0.0.0/24"], schema_registry_url = "https://ruter:password@registry.example.org" }
  }

  expect_failures = [var.kafka]
}

run "refuses_a_user_without_a_schema_registry" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["10.0.0.0/24"], schema_registry_username = "ruter" }
  }

  expect_failures = [var.kafka]
}

run "refuses_a_kafka_server_without_addresses" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = [] }
  }

  expect_failures = [var.kafka]
}

run "refuses_a_name_as_the_addresses_of_kafka" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["broker-1.example.org"] }
  }

  expect_failures = [var.kafka]
}

run "refuses_an_unknown_protocol_of_kafka" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["10.0.0.0/24"], security_protocol = "TLS" }
  }

  expect_failures = [var.kafka]
}

run "refuses_an_allowed_name_instead_of_addresses" {
  command = plan

  variables {
    allowed_cidrs = ["office.example.org"]
  }

  expect_failures = [var.allowed_cidrs]
}

run "refuses_a_login_without_its_secret" {
  command = plan

  variables {
    login = { issuer = "https://login.example.org", authorization_endpoint = "https://login.example.org/a", token_endpoint = "https://login.example.org/t", user_info_endpoint = "https://login.example.org/u", client_id = "dagster" }
  }

  expect_failures = [var.login_client_secret]
}

run "refuses_an_alarm_to_no_address" {
  command = plan

  variables {
    alarm_emails = ["alarms"]
  }

  expect_failures = [var.alarm_emails]
}

run "refuses_a_slack_channel_by_name" {
  command = plan

  variables {
    slack = { workspace_id = "T0123ABCD", channel_id = "#alarms" }
  }

  expect_failures = [var.slack]
}

run "refuses_a_budget_of_nothing" {
  command = plan

  variables {
    budget_usd = 0
  }

  expect_failures = [var.budget_usd]
}
