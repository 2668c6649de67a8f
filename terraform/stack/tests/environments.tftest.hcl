# How a sandbox, dev and prod differ. Run with `terraform test`; no AWS is called.

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

run "prod_has_a_guard" {
  command = plan

  variables {
    environment = "prod"
    protected   = true
  }

  assert {
    condition     = length(terraform_data.guard) == 1
    error_message = "prod must have the guard."
  }
}

run "stage_has_a_guard" {
  command = plan

  variables {
    environment = "stage"
    protected   = true
  }

  assert {
    condition     = length(terraform_data.guard) == 1
    error_message = "stage must have the guard."
  }
}

run "prod_is_refused_without_protection" {
  command = plan

  variables {
    environment = "prod"
    protected   = false
  }

  expect_failures = [terraform_data.guard]
}

run "sandbox_has_names_and_tags_of_its_own" {
  command = plan

  variables {
    environment = "s-mybranch-0123ab"
    branch      = "feature/my-branch"
  }

  assert {
    condition     = length(terraform_data.guard) == 0
    error_message = "A sandbox must have no guard: its pipeline destroys it."
  }

  assert {
    condition     = output.workgroup == "rd-s-mybranch-0123ab" && output.database == "rd_s_mybranch_0123ab"
    error_message = "A sandbox must have a Glue database and a workgroup of its own."
  }

  assert {
    condition     = local.tags.environment == "s-mybranch-0123ab" && local.tags.branch == "feature/my-branch"
    error_message = "All resources of a sandbox must have its id and branch as tags."
  }
}

run "data_outlives_a_protected_environment" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    name              = "rd-example"
    protected         = true
    lake_prefix       = "lake/example/demo"
    create_raw_bucket = true
    log_days          = 7
  }

  assert {
    condition     = aws_kms_key.this.deletion_window_in_days == 30
    error_message = "The key must wait 30 days for its deletion."
  }
}

run "data_goes_with_an_unprotected_environment" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    name              = "rd-example"
    protected         = false
    lake_prefix       = "lake/example/demo"
    create_raw_bucket = true
    log_days          = 7
  }

  assert {
    condition     = aws_kms_key.this.deletion_window_in_days == 7
    error_message = "The key must wait 7 days for its deletion."
  }
}

run "pipelines_and_views_follow_from_the_code" {
  command = plan

  assert {
    condition     = keys(local.pipeline_definitions) == ["daily", "training"] && contains(keys(local.definitions.views), "accuracy")
    error_message = "The demo network must have both pipelines and the views."
  }

  assert {
    condition     = length(module.bi) == 0 && output.quicksight_url == null
    error_message = "Without a group of readers there must be nothing in QuickSight."
  }
}

run "pipelines_follow_from_the_source" {
  command = plan

  override_data {
    target = module.bi[0].data.aws_caller_identity.current
    values = { account_id = "123456789012" }
  }

  variables {
    source_settings = { source = "tides", operator = "ruter", gtfs_path = "s3://timetables/ruter" }
    quicksight      = { readers_arn = "arn:aws:quicksight:eu-north-1:123456789012:group/default/ruter-dagster" }
  }

  assert {
    condition     = endswith(local.pipeline_folder, "/pipelines/tides-timetable") && length(local.pipeline_definitions) == 2
    error_message = "TIDES data with a timetable must have pipelines of their own."
  }

  assert {
    condition     = length(module.bi) == 1 && length(module.bi[0].data_sets) == length(local.definitions.views)
    error_message = "QuickSight must have a data set for each view."
  }
}

run "own_operator_has_no_pipelines" {
  command = plan

  variables {
    source_settings = { source = "tides", operator = "s3://settings/operator.toml" }
  }

  assert {
    condition     = local.pipeline_definitions == {}
    error_message = "Versions of assets depend on the operator's file, which is not in the repository."
  }
}
