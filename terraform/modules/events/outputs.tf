output "queue_urls" {
  description = "URL of the queue by rule: jobs, and arrivals if raw data is in S3."
  value       = { for key, queue in aws_sqs_queue.this : key => queue.url }
}

output "queue_arns" {
  description = "ARNs of the queues, without dead letters."
  value       = [for queue in aws_sqs_queue.this : queue.arn]
}

output "dead_letter_queues" {
  description = "Names of the queues of messages that could not be read, by rule."
  value       = { for key, queue in aws_sqs_queue.dead : key => queue.name }
}

output "queues" {
  description = "Names of the queues, without dead letters."
  value       = [for queue in aws_sqs_queue.this : queue.name]
}
