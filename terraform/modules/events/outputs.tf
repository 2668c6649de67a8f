output "queue_urls" {
  description = "URL of the queue by rule: jobs, and arrivals if raw data is in S3."
  value       = { for key, queue in aws_sqs_queue.this : key => queue.url }
}

output "queue_arns" {
  description = "ARNs of the queues, without dead letters."
  value       = [for queue in aws_sqs_queue.this : queue.arn]
}

output "dead_letter_queues" {
  description = "Names of the queues of messages that nobody could read."
  value       = [for queue in aws_sqs_queue.dead : queue.name]
}

output "queues" {
  description = "Names of the queues, without dead letters."
  value       = [for queue in aws_sqs_queue.this : queue.name]
}
