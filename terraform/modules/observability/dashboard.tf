locals {
  # Metrics of the environment by the widget's title. The names are those of ruter_dagster/contracts/metrics.py.
  of_environment = {
    "Runs by result"                      = { stat = "Sum", names = ["RunSuccesses", "RunFailures", "JobFailures", "Retries"] }
    "Duration of runs, seconds"           = { stat = "Average", names = ["RunSeconds"] }
    "Publications"                        = { stat = "Sum", names = ["Publications"] }
    "Accuracy (WAPE)"                     = { stat = "Average", names = ["Wape"] }
    "Skill against the mean of 4 weeks"   = { stat = "Average", names = ["Skill"] }
    "Bias, coverage - 0.8, matched share" = { stat = "Average", names = ["Bias", "CoverageDeviation", "MatchedShare"] }
    "Drift metrics that warn or act"      = { stat = "Maximum", names = ["DriftWarnings", "DriftAlarms"] }
    "Cost of jobs, US dollars"            = { stat = "Sum", names = ["JobCost"] }
  }

  # Metrics of each asset by the widget's title. A search finds the assets, new ones too.
  of_assets = {
    "Age of the newest partition, seconds" = { stat = "Maximum", name = "Freshness" }
    "Lag of the newest partition, seconds" = { stat = "Maximum", name = "Lag" }
    "Duration of assets, seconds"          = { stat = "Average", name = "AssetSeconds" }
    "Rows"                                 = { stat = "Sum", name = "Rows" }
    "Retries by asset"                     = { stat = "Sum", name = "Retries" }
    "Cost by asset, US dollars"            = { stat = "Sum", name = "JobCost" }
    "Duration of jobs, seconds"            = { stat = "Average", name = "JobSeconds" }
    "CPU time of jobs, seconds"            = { stat = "Sum", name = "JobCpuSeconds" }
    "Most memory of jobs, MB (2^20 bytes)" = { stat = "Maximum", name = "JobMemory" }
  }

  of_aws = {
    "Waiting events"          = { stat = "Sum", metrics = [for queue in var.queues : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue]] }
    "CPU of the database, %"  = { stat = "Average", metrics = [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", var.database]] }
    "Memory of containers, %" = { stat = "Average", metrics = [for service in ["code", "daemon", "web"] : ["AWS/ECS", "MemoryUtilization", "ClusterName", var.cluster, "ServiceName", service]] }
  }

  charts = concat(
    [for title, chart in local.of_environment : {
      title   = title
      stat    = chart.stat
      metrics = [for name in chart.names : [local.namespace, name, "Environment", var.name]]
    }],
    [for title, chart in local.of_assets : {
      title   = title
      stat    = chart.stat
      metrics = [[{ expression = "SEARCH('{${local.namespace},Environment,Asset} MetricName=\"${chart.name}\" Environment=\"${var.name}\"', '${chart.stat}', 3600)", id = "assets" }]]
    }],
    [for title, chart in local.of_aws : merge({ title = title }, chart)],
  )

  widgets = [for index, chart in local.charts : {
    type   = "metric"
    x      = index % 2 * 12
    y      = floor(index / 2) * 6
    width  = 12
    height = 6
    properties = {
      title   = chart.title
      region  = local.region
      view    = "timeSeries"
      stacked = false
      stat    = chart.stat
      period  = 3600
      metrics = chart.metrics
    }
  }]
}
