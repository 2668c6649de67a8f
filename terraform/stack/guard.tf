# Terraform refuses any plan that destroys this. It holds if `protected` was set to false, since `count` follows the
# environment's name alone, and with `-target`: what it refers to cannot be destroyed without it.
resource "terraform_data" "guard" {
  count = contains(["stage", "prod"], var.environment) ? 1 : 0

  input = {
    environment = var.environment
    lake        = module.storage.lake_bucket
    database    = module.dagster.database
    secret      = module.secrets.arn
  }

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = var.protected
      error_message = "${var.environment} must have protected = true."
    }
  }
}
