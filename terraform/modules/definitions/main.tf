locals {
  written  = fileexists("${var.folder}/manifest.json")
  manifest = local.written ? jsondecode(file("${var.folder}/manifest.json")) : { code = "", jobs = [], not_for_jobs = [] }

  # The same hash as in scripts/render_definitions.py.
  code = sort(flatten([
    for package in ["packages/dagster-sagemaker/dagster_sagemaker", "ruter_dagster"] : [for file in fileset(var.repository, "${package}/**/*.{py,toml}") : file]
  ]))
  code_hash = sha256(join("", [for file in local.code : "${file} ${filesha256("${var.repository}/${file}")}\n"]))
}
