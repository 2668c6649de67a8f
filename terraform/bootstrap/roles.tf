locals {
  # Claims of GitLab's token. A plan reads the states of all environments, so other branches get no plan.
  project  = "project_path:${var.gitlab_project}"
  subjects = { for role, refs in local.all_subjects : role => refs if role != "sandbox" || var.sandboxes }
  all_subjects = {
    sandbox = ["${local.project}:ref_type:branch:ref:*"]
    plan    = [for branch in var.deploy_branches : "${local.project}:ref_type:branch:ref:${branch}"]
    deploy  = [for branch in var.deploy_branches : "${local.project}:ref_type:branch:ref:${branch}"]
  }
  host = trimprefix(var.gitlab_url, "https://")

  # Each role reaches the states of its own environments alone.
  state_keys = { for role, keys in local.all_state_keys : role => keys if role != "sandbox" || var.sandboxes }
  all_state_keys = {
    sandbox = ["sandbox/*"]
    plan    = ["env/*"]
    deploy  = [for environment in var.environments : "env/${environment}/*"]
  }
}

data "aws_iam_policy_document" "trust" {
  for_each = local.subjects

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.gitlab.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.host}:aud"
      values   = [var.gitlab_url]
    }

    condition {
      test     = "StringLike"
      variable = "${local.host}:sub"
      values   = each.value
    }
  }
}

resource "aws_iam_role" "ci" {
  for_each = local.subjects

  name                 = "rd-ci-${each.key}"
  description          = "GitLab CI of ${var.gitlab_project}: ${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = 3600
}

data "aws_iam_policy_document" "state" {
  for_each = local.state_keys

  statement {
    sid       = "ListStates"
    actions   = ["s3:ListBucket", "s3:ListBucketVersions"]
    resources = [module.state.arn]
  }

  statement {
    sid       = "States"
    actions   = each.key == "plan" ? ["s3:GetObject"] : ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObjectVersion"]
    resources = [for key in each.value : "${module.state.arn}/${key}"]
  }

  # A plan takes the lock too.
  dynamic "statement" {
    for_each = each.key == "plan" ? [1] : []

    content {
      sid       = "Locks"
      actions   = ["s3:PutObject", "s3:DeleteObject"]
      resources = ["${module.state.arn}/env/*.tflock"]
    }
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.state.arn]
  }
}

resource "aws_iam_role_policy" "state" {
  for_each = local.state_keys

  name   = "state"
  role   = aws_iam_role.ci[each.key].id
  policy = data.aws_iam_policy_document.state[each.key].json
}

# ReadOnlyAccess reads no secrets. A plan draws a password and compares the one that the database's secret has.
data "aws_iam_policy_document" "plan" {
  statement {
    sid       = "PasswordsOfDatabases"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [for environment in var.environments : "${local.arn}:secretsmanager:${local.here}:secret:rd-${environment}/database-*"]
  }

  # AWS offers no resource for this action.
  statement {
    sid       = "RandomPassword"
    actions   = ["secretsmanager:GetRandomPassword"]
    resources = ["*"]
  }

  statement {
    sid       = "KeysOfPasswords"
    actions   = ["kms:Decrypt"]
    resources = ["${local.arn}:kms:${local.here}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/environment"
      values   = var.environments
    }
  }
}

resource "aws_iam_role_policy" "plan" {
  name   = "read-passwords-of-databases"
  role   = aws_iam_role.ci["plan"].id
  policy = data.aws_iam_policy_document.plan.json
}

resource "aws_iam_role_policy_attachment" "plan" {
  role       = aws_iam_role.ci["plan"].name
  policy_arn = "${local.arn}:iam::aws:policy/ReadOnlyAccess"
}

# A managed policy has room for 6,144 characters, a role for ten of them: one policy for each group of services.
resource "aws_iam_policy" "ci" {
  for_each = local.policies

  name   = "rd-ci-${each.key}"
  policy = each.value
}

resource "aws_iam_role_policy_attachment" "ci" {
  for_each = local.policies

  role       = aws_iam_role.ci[split("-", each.key)[0]].name
  policy_arn = aws_iam_policy.ci[each.key].arn
}

# The report on a merge request compares a sandbox's forecasts with those of prod: it reads, and writes nothing.
data "aws_iam_policy_document" "production" {
  statement {
    sid       = "Tables"
    actions   = ["glue:GetDatabase", "glue:GetTable", "glue:GetTables"]
    resources = [for part in ["catalog", "database/rd_${var.readable_environment}", "table/rd_${var.readable_environment}/*"] : "${local.arn}:glue:${local.here}:${part}"]
  }

  statement {
    sid       = "Rows"
    actions   = ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"]
    resources = flatten([for bucket in var.readable_buckets : ["${local.arn}:s3:::${bucket}", "${local.arn}:s3:::${bucket}/*"]])
  }

  # By the key's alias: its id is known only once the environment exists.
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt"]
    resources = ["${local.arn}:kms:${local.here}:key/*"]

    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "kms:ResourceAliases"
      values   = ["alias/rd-${var.readable_environment}"]
    }
  }
}

resource "aws_iam_role_policy" "production" {
  count = var.sandboxes && length(var.readable_buckets) > 0 ? 1 : 0

  name   = "read-${var.readable_environment}"
  role   = aws_iam_role.ci["sandbox"].id
  policy = data.aws_iam_policy_document.production.json
}
