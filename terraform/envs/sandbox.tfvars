# The branch's own values (environment, branch, commit, images) come from the pipeline.
protected = false

# The expensive parts are off: a sandbox reaches AWS through endpoints.
nat_gateway         = false
create_mlflow       = false
studio              = false
feature_group       = false
interface_endpoints = ["athena", "ec2", "ecr.api", "ecr.dkr", "ecs", "glue", "logs", "monitoring", "sagemaker.api", "secretsmanager", "sqs", "sts"]

sizes = {
  code     = { cpu = 512, memory = 2048 }
  web      = { cpu = 512, memory = 1024 }
  daemon   = { cpu = 512, memory = 1024 }
  run      = { cpu = 1024, memory = 4096 }
  database = "db.t4g.micro"
}

budget_usd = 100
log_days   = 7
