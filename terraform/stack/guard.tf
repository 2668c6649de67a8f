# Terraform refuses any plan that destroys this. It holds if `protected` was set to false, since `count` follows the
# environment's name alone, and with `-target`: a module that it depends on cannot be destroyed without it.
resource "terraform_data" "guard" {
  count = contains(["stage", "prod"], var.environment) ? 1 : 0

  input = var.environment

  depends_on = [
    module.storage,
    module.catalog,
    module.network,
    module.events,
    module.iam,
    module.secrets,
    module.sagemaker,
    module.dagster,
    module.observability,
    module.definitions,
    module.bi,
  ]

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = var.protected
      error_message = "${var.environment} must have protected = true."
    }
  }
}
