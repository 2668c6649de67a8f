locals {
  metrics = {
    "Runs by result"            = [for name in ["RunSuccesses", "RunFailures"] : ["RuterDagster", name, "Environment", var.name]]
    "Duration of runs, seconds" = [["RuterDagster", "RunSeconds", "Environment", var.name]]
    "Publications"              = [["RuterDagster", "Publications", "Environment", var.name]]
    "Accuracy (WAPE)"           = [["RuterDagster", "Wape", "Environment", var.name]]
    "Cost of jobs, US dollars"  = [["RuterDagster", "JobCost", "Environment", var.name]]
    "Waiting events"            = [for queue in var.queues : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue]]
    "CPU of the database, %"    = [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", var.database]]
    "Memory of containers, %"   = [for service in ["code", "daemon", "web"] : ["AWS/ECS", "MemoryUtilization", "ClusterName", var.cluster, "ServiceName", service]]
  }

  widgets = [for index, title in keys(local.metrics) : {
    type   = "metric"
    x      = index % 2 * 12
    y      = floor(index / 2) * 6
    width  = 12
    height = 6
    properties = {
      title   = title
      region  = local.region
      view    = "timeSeries"
      stacked = false
      stat    = contains(["Accuracy (WAPE)"], title) ? "Average" : "Sum"
      period  = 3600
      metrics = local.metrics[title]
    }
  }]
}
