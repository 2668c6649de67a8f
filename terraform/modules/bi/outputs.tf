output "dashboard_url" {
  description = "Address of the dashboard, known once it exists."
  value       = "https://${local.region}.quicksight.aws.amazon.com/sn/dashboards/${local.dashboard}"

  depends_on = [aws_cloudformation_stack.pages]
}

output "data_sets" {
  description = "Ids of the data sets."
  value       = [for set in aws_quicksight_data_set.this : set.data_set_id]
}
