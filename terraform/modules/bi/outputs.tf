output "dashboard_url" {
  description = "Address of the dashboard; null if QuickSight is off."
  value       = var.enabled ? "https://${data.aws_region.current.name}.quicksight.aws.amazon.com/sn/dashboards/${var.name}-forecasts" : null
}

output "data_sets" {
  description = "Ids of the data sets."
  value       = [for set in aws_quicksight_data_set.this : set.data_set_id]
}
