# One secret for jobs and Dagster. Its value is put there by hand or by rotation: Terraform's state never holds it.
resource "aws_secretsmanager_secret" "this" {
  # checkov:skip=CKV2_AWS_57:The passwords belong to Kafka and Slack, which change them: docs/runbook.md
  name                    = "${var.name}/passwords"
  description             = "JSON object with RUTER_KAFKA_SASL_PASSWORD and RUTER_SLACK_TOKEN"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.protected ? 30 : 0
}

data "aws_iam_policy_document" "this" {
  # In a secret's own policy, * is this secret alone.
  statement {
    sid       = "DenyOtherRoles"
    effect    = "Deny"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "ArnNotLike"
      variable = "aws:PrincipalArn"
      values   = var.reader_arns
    }
  }
}

resource "aws_secretsmanager_secret_policy" "this" {
  secret_arn = aws_secretsmanager_secret.this.arn
  policy     = data.aws_iam_policy_document.this.json
}
