environment = "stage"
protected   = true

nat_gateway   = true
create_mlflow = true
studio        = true
feature_group = true

sizes = {
  code     = { cpu = 1024, memory = 2048 }
  web      = { cpu = 512, memory = 1024 }
  daemon   = { cpu = 512, memory = 1024 }
  run      = { cpu = 1024, memory = 4096 }
  database = "db.t4g.small"
}

budget_usd = 1000
log_days   = 30
