output "arn" {
  description = "ARN of the secret with the passwords of Kafka and Slack."
  value       = aws_secretsmanager_secret.this.arn
}

output "name" {
  description = "Name of the secret, for the command that sets its value."
  value       = aws_secretsmanager_secret.this.name
}
