data "aws_caller_identity" "current" {}
data "aws_region" "current" {}

locals {
  region = data.aws_region.current.name

  # Namespace of the code's own metrics, which ruter_dagster/contracts/metrics.py declares.
  namespace = "RuterDagster"

  # A filter without dimensions of the log line cannot name the environment, so its namespace does.
  log_namespace = "RuterDagster/Logs/${var.name}"

  # Alarms by key. `dimensions` name the resource. A missing value is no alarm where nothing is measured most of the time.
  alarms = merge(
    {
      run-failures = {
        description = "A Dagster run failed after its retries"
        namespace   = local.namespace, metric = "RunFailures", statistic = "Sum", threshold = 1, period = 300, periods = 1, missing = "notBreaching"
        dimensions  = { Environment = var.name }
      }
      drift = {
        description = "A drift measure is over its threshold"
        namespace   = local.namespace, metric = "DriftAlarms", statistic = "Maximum", threshold = 1, period = 3600, periods = 1, missing = "notBreaching"
        dimensions  = { Environment = var.name }
      }
      forecasts-late = {
        description = "No forecast was published for a day and six hours"
        namespace   = local.namespace, metric = "Publications", statistic = "Sum", threshold = 1, period = 21600, periods = 5, missing = "breaching", below = true
        dimensions  = { Environment = var.name }
      }
      forecasts-stale = {
        description = "The newest published issue date began more than 30 hours ago"
        namespace   = local.namespace, metric = "Freshness", statistic = "Maximum", threshold = 108000, period = 1800, periods = 2, missing = "missing"
        dimensions  = { Environment = var.name, Asset = "forecasts/published_forecasts" }
      }
      counts-stale = {
        description = "The newest operating date with loads ended more than 36 hours ago"
        namespace   = local.namespace, metric = "Freshness", statistic = "Maximum", threshold = 129600, period = 1800, periods = 2, missing = "missing"
        dimensions  = { Environment = var.name, Asset = "loads/stop_loads" }
      }
      long-lag = {
        description = "A forecast was published more than 8 hours after its issue date began"
        namespace   = local.namespace, metric = "Lag", statistic = "Maximum", threshold = 28800, period = 3600, periods = 1, missing = "notBreaching"
        dimensions  = { Environment = var.name, Asset = "forecasts/published_forecasts" }
      }
      low-skill = {
        description = "For a week the model was worse than the mean of 4 weeks"
        namespace   = local.namespace, metric = "Skill", statistic = "Average", threshold = 0, period = 86400, periods = 1, missing = "notBreaching", below = true
        dimensions  = { Environment = var.name }
      }
      daemon-silent = {
        description = "Dagster's daemon wrote no line for 15 minutes: schedules and sensors stand still"
        namespace   = "AWS/Logs", metric = "IncomingLogEvents", statistic = "Sum", threshold = 1, period = 900, periods = 1, missing = "breaching", below = true
        dimensions  = { LogGroupName = var.log_groups["daemon"] }
      }
      database-full = {
        description = "Dagster's database has less than 2 GB left"
        namespace   = "AWS/RDS", metric = "FreeStorageSpace", statistic = "Minimum", threshold = 2000000000, period = 300, periods = 3, missing = "missing", below = true
        dimensions  = { DBInstanceIdentifier = var.database }
      }
      ui-unhealthy = {
        description = "Dagster's webserver fails its health check"
        namespace   = "AWS/ApplicationELB", metric = "UnHealthyHostCount", statistic = "Maximum", threshold = 1, period = 60, periods = 5, missing = "notBreaching"
        dimensions  = { LoadBalancer = var.load_balancer, TargetGroup = var.target_group }
      }
    },
    { for rule, queue in var.dead_letter_queues : "dead-letters-${rule}" => {
      description = "Messages of ${queue} could not be read"
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", statistic = "Maximum", threshold = 1, period = 300, periods = 1, missing = "notBreaching"
      dimensions  = { QueueName = queue }
    } },
    { for container in ["code", "daemon", "web"] : "errors-${container}" => {
      description = "The container ${container} logged errors"
      namespace   = local.log_namespace, metric = "Errors-${container}", statistic = "Sum", threshold = 5, period = 300, periods = 1, missing = "notBreaching"
      dimensions  = {}
    } },
  )
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

data "aws_iam_policy_document" "alarms" {
  statement {
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

# Each receiver gets a message with a link to confirm.
resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.alarm_emails)

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_log_metric_filter" "errors" {
  for_each = { for key, group in var.log_groups : key => group if contains(["code", "daemon", "web"], key) }

  name           = "${var.name}-errors-${each.key}"
  log_group_name = each.value
  pattern        = "?ERROR ?CRITICAL ?Traceback"

  metric_transformation {
    name          = "Errors-${each.key}"
    namespace     = local.log_namespace
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description}. What to do: docs/runbook.md"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  threshold           = each.value.threshold
  comparison_operator = try(each.value.below, false) ? "LessThanThreshold" : "GreaterThanOrEqualToThreshold"
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({ widgets = local.widgets })
}

resource "aws_cloudwatch_query_definition" "this" {
  for_each = {
    errors    = "fields @timestamp, @message | filter @message like /ERROR|CRITICAL|Traceback/ | sort @timestamp desc | limit 200"
    last-runs = "fields @timestamp, @message | filter @message like /RUN_(SUCCESS|FAILURE)/ | sort @timestamp desc | limit 100"
  }

  name            = "${var.name}/${each.key}"
  log_group_names = values(var.log_groups)
  query_string    = each.value
}

# Amazon Q Developer in chat applications, once AWS Chatbot. A person connects the workspace in the console first.
resource "aws_chatbot_slack_channel_configuration" "this" {
  count    = var.slack == null ? 0 : 1
  provider = aws.chat

  configuration_name    = var.name
  slack_team_id         = var.slack.workspace_id
  slack_channel_id      = var.slack.channel_id
  iam_role_arn          = aws_iam_role.slack[0].arn
  sns_topic_arns        = [aws_sns_topic.alarms.arn]
  guardrail_policy_arns = ["arn:aws:iam::aws:policy/CloudWatchReadOnlyAccess"]
  logging_level         = "ERROR"
}

data "aws_iam_policy_document" "slack_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["chatbot.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_role" "slack" {
  count = var.slack == null ? 0 : 1

  name                 = "${var.name}-slack"
  assume_role_policy   = data.aws_iam_policy_document.slack_trust.json
  permissions_boundary = var.permissions_boundary
}

# Everything else that people may ask in Slack is refused.
data "aws_iam_policy_document" "slack" {
  # Graphs in alarms, and the list of alarms. CloudWatch offers no resource for either.
  statement {
    actions   = ["cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [local.region]
    }
  }
}

resource "aws_iam_role_policy" "slack" {
  count = var.slack == null ? 0 : 1

  name   = "show-alarms"
  role   = aws_iam_role.slack[0].id
  policy = data.aws_iam_policy_document.slack.json
}

resource "aws_budgets_budget" "this" {
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name = "TagKeyValue"
    # By format: `$` before an interpolation would be an escape.
    values = [format("user:environment$%s", var.environment)]
  }

  dynamic "notification" {
    for_each = { actual = ["ACTUAL", 80], forecast = ["FORECASTED", 100] }

    content {
      comparison_operator       = "GREATER_THAN"
      threshold                 = notification.value[1]
      threshold_type            = "PERCENTAGE"
      notification_type         = notification.value[0]
      subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
    }
  }
}
