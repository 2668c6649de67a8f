locals {
  kinds = ["Processing", "Training"]
  rules = {
    jobs = jsonencode({
      source        = ["aws.sagemaker"]
      "detail-type" = [for kind in local.kinds : "SageMaker ${kind} Job State Change"]
      detail = {
        "$or" = [for kind in local.kinds : {
          "${kind}JobName"   = [{ prefix = "${var.name}-" }]
          "${kind}JobStatus" = ["Completed", "Failed", "Stopped"]
        }]
      }
    })
    arrivals = jsonencode({
      source        = ["aws.s3"]
      "detail-type" = ["Object Created"]
      detail = {
        bucket = { name = [var.raw_bucket] }
        object = { key = [{ prefix = var.raw_prefix }] }
      }
    })
  }
}

resource "aws_sqs_queue" "dead" {
  for_each = local.rules

  name                      = "${var.name}-${each.key}-dead"
  kms_master_key_id         = var.kms_key_arn
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue" "this" {
  for_each = local.rules

  name                       = "${var.name}-${each.key}"
  kms_master_key_id          = var.kms_key_arn
  visibility_timeout_seconds = 60

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  for_each = local.rules

  queue_url = aws_sqs_queue.dead[each.key].id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.this[each.key].arn]
  })
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.rules

  name          = "${var.name}-${each.key}"
  description   = each.key == "jobs" ? "A SageMaker job of ${var.name} has ended" : "New raw data of ${var.name}"
  event_pattern = each.value
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.rules

  rule      = aws_cloudwatch_event_rule.this[each.key].name
  target_id = "queue"
  arn       = aws_sqs_queue.this[each.key].arn

  dead_letter_config {
    arn = aws_sqs_queue.dead[each.key].arn
  }
}

data "aws_iam_policy_document" "queue" {
  for_each = merge([for key in keys(local.rules) : {
    "${key}"      = { queue = aws_sqs_queue.this[key].arn, rule = aws_cloudwatch_event_rule.this[key].arn }
    "${key}-dead" = { queue = aws_sqs_queue.dead[key].arn, rule = aws_cloudwatch_event_rule.this[key].arn }
  }]...)

  statement {
    sid       = "EventBridge"
    actions   = ["sqs:SendMessage"]
    resources = [each.value.queue]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [each.value.rule]
    }
  }
}

resource "aws_sqs_queue_policy" "this" {
  for_each = local.rules

  queue_url = aws_sqs_queue.this[each.key].id
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

resource "aws_sqs_queue_policy" "dead" {
  for_each = local.rules

  queue_url = aws_sqs_queue.dead[each.key].id
  policy    = data.aws_iam_policy_document.queue["${each.key}-dead"].json
}
