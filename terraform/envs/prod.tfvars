environment = "prod"
protected   = true

nat_gateway   = true
create_mlflow = true
studio        = true
feature_group = true

sizes = {
  code     = { cpu = 1024, memory = 2048 }
  web      = { cpu = 512, memory = 1024 }
  daemon   = { cpu = 512, memory = 1024 }
  run      = { cpu = 2048, memory = 8192 }
  database = "db.t4g.medium"
}

budget_usd = 3000
log_days   = 365
