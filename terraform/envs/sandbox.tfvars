# The branch's own values (environment, branch, commit, images) come from the pipeline.
protected = false

# A NAT gateway costs 1.20 US dollars a day. The 13 interface endpoints that would replace it cost 6.20.
nat_gateway = true

# Expensive, or of use to people only. Trainings are recorded in Dagster, and in MLflow if mlflow_arn names one.
create_mlflow = false
studio        = false
feature_group = false

sizes = {
  code     = { cpu = 512, memory = 2048 }
  web      = { cpu = 512, memory = 1024 }
  daemon   = { cpu = 512, memory = 1024 }
  run      = { cpu = 1024, memory = 4096 }
  database = "db.t4g.micro"
}

budget_usd = 100
log_days   = 7
