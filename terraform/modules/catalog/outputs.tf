output "database" {
  description = "Glue database of all tables."
  value       = aws_glue_catalog_database.this.name
}

output "database_of_views" {
  description = "Glue database, known once its views exist."
  value       = aws_glue_catalog_database.this.name

  depends_on = [aws_glue_catalog_table.view]
}

output "workgroup" {
  description = "Athena workgroup of dashboards, reports and people."
  value       = aws_athena_workgroup.this.name
}

output "views" {
  description = "Names of the views."
  value       = keys(aws_glue_catalog_table.view)
}
