# Terraform refuses any plan that destroys this, also with `-target` and if `protected` was set to false: `count` and the
# input follow the environment's name alone. The name is part of the state's address, so another name is another state.
resource "terraform_data" "guard" {
  count = contains(["stage", "prod"], var.environment) ? 1 : 0

  input = var.environment

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = var.protected
      error_message = "${var.environment} must have protected = true."
    }
  }
}
