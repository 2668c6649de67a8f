# Addresses of the network and domain of the UI. Run with `terraform test`; no AWS is called.

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
  environment        = "s-mybranch-1a2b3c"
  branch             = "my-branch"
  commit             = "0123456789abcdef0123456789abcdef01234567"
  protected          = false
  repository_arns    = { jobs = "arn:aws:ecr:eu-north-1:123456789012:repository/rd-jobs", orchestrator = "arn:aws:ecr:eu-north-1:123456789012:repository/rd-dagster" }
  jobs_image         = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-jobs@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  orchestrator_image = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-dagster@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  kafka              = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["10.0.0.0/24"] }
  certificate_arn    = "arn:aws:acm:eu-north-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef"
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

run "sandbox_has_addresses_by_the_hash_of_its_id" {
  command = plan

  assert {
    condition     = local.cidr == "10.115.192.0/20"
    error_message = "0x1a2b3c % 1024 is 828: the range of 4,096 addresses with this number in 10.64.0.0/10."
  }
}

run "sandbox_without_mlflow_records_no_experiments" {
  command = plan

  assert {
    condition     = local.mlflow_address == "none"
    error_message = "An address that does not answer would fail each training."
  }
}

run "jobs_reach_brokers_alone_without_a_schema_registry" {
  command = plan

  assert {
    condition     = jsonencode(local.registry_ports) == "[]"
    error_message = "No port of a Schema Registry is opened."
  }
}

run "jobs_reach_the_port_of_the_schema_registry" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["10.0.0.0/24"], schema_registry_url = "https://registry.example.org:8081/api", schema_registry_username = "ruter" }
  }

  assert {
    condition     = jsonencode(local.registry_ports) == "[8081]"
    error_message = "The port is that of the address."
  }
}

run "jobs_reach_the_usual_port_of_a_schema_registry" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["10.0.0.0/24"], schema_registry_url = "http://registry.example.org" }
  }

  assert {
    condition     = jsonencode(local.registry_ports) == "[80]"
    error_message = "An address without a port has that of its protocol."
  }
}

run "the_port_of_https_is_opened_once" {
  command = plan

  variables {
    kafka = { bootstrap_servers = "broker-1.example.org:9096", cidrs = ["0.0.0.0/0"], schema_registry_url = "https://registry.example.org" }
  }

  assert {
    condition     = jsonencode(local.registry_ports) == "[]"
    error_message = "AWS refuses two equal rules: jobs reach port 443 of every address."
  }
}

run "sandbox_has_its_id_in_a_shared_domain" {
  command = plan

  variables {
    domain              = { name = "*.sandbox.example.org", zone_id = "Z0123456789" }
    login               = { issuer = "https://login.example.org", authorization_endpoint = "https://login.example.org/a", token_endpoint = "https://login.example.org/t", user_info_endpoint = "https://login.example.org/u", client_id = "sandboxes" }
    login_client_secret = "secret"
  }

  assert {
    condition     = output.dagster_url == "https://s-mybranch-1a2b3c.sandbox.example.org"
    error_message = "The environment takes the place of the asterisk."
  }
}

run "refuses_an_asterisk_in_the_middle" {
  command = plan

  variables {
    domain = { name = "a.*.example.org", zone_id = "Z0123456789" }
  }

  expect_failures = [var.domain]
}

run "environments_have_addresses_of_their_own" {
  command = plan

  variables {
    environment = "prod"
    protected   = true
  }

  assert {
    condition     = local.cidr == "10.23.0.0/16"
    error_message = "dev, test, stage and prod have 10.20.0.0/16 to 10.23.0.0/16."
  }
}
