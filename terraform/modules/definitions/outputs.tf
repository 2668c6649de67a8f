output "definitions" {
  description = "Views, columns of the feature group, dashboard as JSON, names of all jobs, variables that jobs do not get, and hash of the code."

  value = {
    views        = local.written ? jsondecode(file("${var.folder}/views.json")) : {}
    features     = local.written ? jsondecode(file("${var.folder}/features.json")) : {}
    dashboard    = local.written ? file("${var.folder}/dashboard.json") : "{}"
    jobs         = local.manifest.jobs
    not_for_jobs = local.manifest.not_for_jobs
    code         = local.manifest.code
  }

  precondition {
    condition     = local.written
    error_message = "${var.folder} has no definitions of pipelines, views and dashboards. Write them with `make definitions`, or download the artifact of the job `definitions`."
  }

  precondition {
    condition     = !local.written || length(local.code) == 0 || local.manifest.code == local.code_hash
    error_message = "${var.folder} was written from other code than this. Write it again with `make definitions`."
  }
}
