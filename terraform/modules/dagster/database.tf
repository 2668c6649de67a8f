resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.private_subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name   = var.name
  family = "postgres16"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }
}

data "aws_iam_policy_document" "monitoring_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "monitoring" {
  name                 = "${var.name}-database-metrics"
  assume_role_policy   = data.aws_iam_policy_document.monitoring_trust.json
  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

locals {
  # `terraform test` reaches no AWS, but a plan opens ephemeral resources: version 0 is for it.
  sets_password = var.database_password_version == 0 ? 0 : 1

  exported_logs = ["postgresql", "upgrade"]
}

# The password is in no state: Terraform draws it, writes it into the secret, and sets for the database what the secret holds.
# A new `database_password_version` draws a new one.
resource "aws_secretsmanager_secret" "database" {
  # checkov:skip=CKV2_AWS_57:Containers read it only when they start, so `database_password_version` rotates it together with them
  name                    = "${var.name}/database"
  description             = "Password of Dagster's database"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.protected ? 30 : 0
}

ephemeral "aws_secretsmanager_random_password" "database" {
  count = local.sets_password

  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret_version" "database" {
  count = local.sets_password

  secret_id                = aws_secretsmanager_secret.database.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.database[0].random_password
  secret_string_wo_version = var.database_password_version
}

# Read back, so that an apply that was interrupted in between cannot leave two passwords.
ephemeral "aws_secretsmanager_secret_version" "database" {
  count = local.sets_password

  secret_id = aws_secretsmanager_secret_version.database[0].secret_id
}

# RDS would create them, and keep their lines for ever.
resource "aws_cloudwatch_log_group" "database" {
  for_each = toset(local.exported_logs)

  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_db_instance" "this" {
  # checkov:skip=CKV_AWS_161:Dagster opens connections with a password only; a token of IAM would end after 15 minutes
  identifier     = var.name
  engine         = "postgres"
  engine_version = "16"
  instance_class = var.sizes.database

  db_name             = "dagster"
  username            = "dagster"
  password_wo         = one(ephemeral.aws_secretsmanager_secret_version.database[*].secret_string)
  password_wo_version = local.sets_password == 0 ? null : var.database_password_version

  allocated_storage     = 20
  max_allocated_storage = 100
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = var.kms_key_arn

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [aws_security_group.database.id]
  parameter_group_name   = aws_db_parameter_group.this.name
  publicly_accessible    = false
  multi_az               = var.protected

  backup_retention_period   = var.protected ? 14 : 1
  copy_tags_to_snapshot     = true
  deletion_protection       = var.protected
  skip_final_snapshot       = !var.protected
  final_snapshot_identifier = var.protected ? "${var.name}-final" : null
  apply_immediately         = !var.protected

  auto_minor_version_upgrade            = true
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.kms_key_arn
  performance_insights_retention_period = 7
  monitoring_interval                   = 60
  monitoring_role_arn                   = aws_iam_role.monitoring.arn
  enabled_cloudwatch_logs_exports       = local.exported_logs

  depends_on = [aws_cloudwatch_log_group.database]
}
