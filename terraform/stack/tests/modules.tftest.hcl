# Parts of modules that no output shows. Run with `terraform test`; no AWS is called.

# A real provider with keys of nobody, which calls nothing for these plans: a mock would render no policies.
provider "aws" {
  region                      = "eu-north-1"
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

variables {
  name                 = "rd-example"
  protected            = false
  kms_key_arn          = "arn:aws:kms:eu-north-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
  vpc_id               = "vpc-0123"
  permissions_boundary = null
}

run "dagster" {
  command = plan

  module {
    source = "../modules/dagster"
  }

  variables {
    image                     = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-dagster@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    environment               = {}
    database_password_version = 0
    wait_for_services         = true
    private_subnet_ids        = ["subnet-0123", "subnet-4567"]
    public_subnet_ids         = ["subnet-89ab", "subnet-cdef"]
    allowed_cidrs             = []
    kafka_cidrs               = ["10.0.0.0/24", "10.1.0.0/24"]
    kafka_ports               = [9096]
    domain                    = null
    certificate_arn           = "arn:aws:acm:eu-north-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef"
    login                     = null
    login_client_secret       = null
    orchestrator_role_arn     = "arn:aws:iam::123456789012:role/rd-example-orchestrator"
    execution_role_arn        = "arn:aws:iam::123456789012:role/rd-example-execution"
    logs_bucket               = "rd-example-logs"
    log_days                  = 7

    sizes = {
      code     = { cpu = 512, memory = 2048 }
      web      = { cpu = 512, memory = 1024 }
      daemon   = { cpu = 512, memory = 1024 }
      run      = { cpu = 1024, memory = 4096 }
      database = "db.t4g.micro"
    }
  }

  assert {
    condition = { for group in concat(values(aws_cloudwatch_log_group.database), [aws_cloudwatch_log_group.container_insights]) : group.name => group.retention_in_days } == {
      "/aws/rds/instance/rd-example/postgresql"           = 7
      "/aws/rds/instance/rd-example/upgrade"              = 7
      "/aws/ecs/containerinsights/rd-example/performance" = 7
    }
    error_message = "Logs of the database and of Container Insights must end: AWS would keep them for ever."
  }

  assert {
    condition     = { for rule in aws_vpc_security_group_egress_rule.kafka : rule.cidr_ipv4 => rule.to_port } == { "10.0.0.0/24" = 9096, "10.1.0.0/24" = 9096 }
    error_message = "The code location must reach the Kafka brokers, to which it sends statuses of forecasts."
  }

  assert {
    condition     = aws_ecs_service.this["web"].health_check_grace_period_seconds == 180
    error_message = "The load balancer must leave the webserver time to load the definitions."
  }
}

run "sagemaker" {
  command = plan

  module {
    source = "../modules/sagemaker"
  }

  variables {
    lake_bucket          = "rd-example-lake"
    lake_arn             = "arn:aws:s3:::rd-example-lake"
    lake_prefix          = "lake/example/demo"
    pipeline_definitions = {}
    feature_group        = true
    features             = { load = "Fractional" }
    create_mlflow        = false
    studio               = false
    endpoint             = null
    job_role_arns        = ["arn:aws:iam::123456789012:role/rd-example-tables"]
    subnet_ids           = ["subnet-0123"]
    security_group_id    = "sg-0123"
  }

  assert {
    condition = alltrue([for action in ["s3:PutObject", "s3:PutObjectAcl", "s3:GetObject", "s3:GetBucketAcl", "glue:GetTable", "glue:UpdateTable"] :
      contains(flatten(jsondecode(aws_iam_role_policy.this["features"].policy).Statement[*].Action), action)
    ])
    error_message = "The role must have the actions of AmazonSageMakerFeatureStoreAccess: the feature group could not be created."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.this["features"].policy).Statement : !contains(flatten([statement.Resource]), "arn:aws:glue:eu-north-1:123456789012:table/sagemaker_featurestore/*")])
    error_message = "The role must not change tables of other environments."
  }
}
