# Files that `scripts/render_definitions` writes from the code: pipelines, Athena's views, columns of features, dashboards.
locals {
  rendered = "${path.module}/rendered"

  pipeline_values = {
    role_arn = module.iam.job_role_arns["tables"]
    image    = var.jobs_image
  }
  pipeline_definitions = {
    for file in fileset(local.rendered, "pipeline-*.json") :
    trimsuffix(trimprefix(file, "pipeline-"), ".json") => templatefile("${local.rendered}/${file}", local.pipeline_values)
  }

  views    = fileexists("${local.rendered}/views.json") ? jsondecode(file("${local.rendered}/views.json")) : {}
  features = fileexists("${local.rendered}/features.json") ? jsondecode(file("${local.rendered}/features.json")) : {}
}
