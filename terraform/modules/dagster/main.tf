data "aws_region" "current" {}

locals {
  # The code location's port is the image's; the webserver's is Dagster's default.
  code_port = 4000
  web_port  = 3000

  services = {
    code = {
      command = ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", tostring(local.code_port), "-m", "ruter_dagster.definitions"]
      ports   = [local.code_port]
      health  = "dagster api grpc-health-check -p ${local.code_port}"
      size    = var.sizes.code
    }
    web = {
      command = ["dagster-webserver", "-h", "0.0.0.0", "-p", tostring(local.web_port), "-w", "/tmp/workspace.yaml"]
      ports   = [local.web_port]
      health  = "python -c \"import urllib.request as r; r.urlopen('http://127.0.0.1:${local.web_port}/server_info')\""
      size    = var.sizes.web
    }
    daemon = {
      command = ["dagster-daemon", "run", "-w", "/tmp/workspace.yaml"]
      ports   = []
      health  = "dagster-daemon liveness-check"
      size    = var.sizes.daemon
    }
  }

  # A run is a task that belongs to no service: EcsRunLauncher starts it with a command of its own.
  tasks = merge(local.services, { run = { command = ["true"], ports = [], health = null, size = var.sizes.run } })

  workspace = yamlencode({
    load_from = [{ grpc_server = { host = "code.${local.namespace}", port = local.code_port, location_name = "ruter_dagster" } }]
  })
  namespace = "${var.name}.internal"

  environment = merge(var.environment, {
    # boto3 reads the one, containers of AWS and the settings the other.
    AWS_REGION          = data.aws_region.current.name
    AWS_DEFAULT_REGION  = data.aws_region.current.name
    DAGSTER_PG_HOST     = aws_db_instance.this.address
    DAGSTER_PG_DATABASE = aws_db_instance.this.db_name
    DAGSTER_PG_USERNAME = aws_db_instance.this.username
    # Containers read the password when they start. Another version makes another task definition, which starts them again.
    DAGSTER_PG_PASSWORD_VERSION = tostring(var.database_password_version)
    DAGSTER_LOGS_BUCKET         = var.logs_bucket
    DAGSTER_LOGS_PREFIX         = "dagster/compute"
    DAGSTER_WORKSPACE           = local.workspace
    # By family: the newest revision, which an apply makes together with the code location's.
    DAGSTER_RUN_TASK = "${var.name}-run"
    # Dagster looks the revision up once, at its start. Another size of runs must start the daemon again, too.
    DAGSTER_RUN_SIZE          = "${var.sizes.run.cpu}/${var.sizes.run.memory}"
    DAGSTER_HOME              = "/opt/dagster/ecs"
    RUTER_DAGSTER_URL         = local.url
    RUTER_METRICS_ENVIRONMENT = var.name
  })
  url = var.domain == null ? "https://${aws_lb.this.dns_name}" : "https://${var.domain.name}"
}

# ECS would create it, and keep its lines for ever.
resource "aws_cloudwatch_log_group" "container_insights" {
  name              = "/aws/ecs/containerinsights/${var.name}/performance"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }

  depends_on = [aws_cloudwatch_log_group.container_insights]
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE"]

  default_capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = local.tasks

  name              = "/rd/${var.name}/dagster/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_ecs_task_definition" "this" {
  for_each = local.tasks

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.size.cpu
  memory                   = each.value.size.memory
  task_role_arn            = var.orchestrator_role_arn
  execution_role_arn       = var.execution_role_arn

  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([merge(
    {
      name                   = "dagster"
      image                  = var.image
      essential              = true
      command                = contains(["web", "daemon"], each.key) ? ["sh", "-c", "printf %s \"$DAGSTER_WORKSPACE\" > /tmp/workspace.yaml && exec ${join(" ", each.value.command)}"] : each.value.command
      environment            = [for name, value in local.environment : { name = name, value = value }]
      secrets                = [{ name = "DAGSTER_PG_PASSWORD", valueFrom = aws_secretsmanager_secret.database.arn }]
      portMappings           = [for port in each.value.ports : { containerPort = port, hostPort = port, protocol = "tcp" }]
      readonlyRootFilesystem = true
      mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]

      # SIGTERM first: the daemon finishes what it writes, the webserver answers its last requests.
      stopTimeout = 120

      logConfiguration = {
        logDriver = "awslogs"
        options = {
          "awslogs-group"         = aws_cloudwatch_log_group.this[each.key].name
          "awslogs-region"        = data.aws_region.current.name
          "awslogs-stream-prefix" = each.key
        }
      }
    },
    each.value.health == null ? {} : {
      healthCheck = { command = ["CMD-SHELL", each.value.health], interval = 30, timeout = 20, retries = 3, startPeriod = 120 }
    },
  )])

  # The old revision stays until the services have left it: ECS starts no task from a deregistered one, neither a run of the old
  # daemon nor the old container of a rollback.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = local.namespace
  description = "Containers of ${var.name}"
  vpc         = var.vpc_id
}

resource "aws_service_discovery_service" "code" {
  name = "code"

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.this.id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_ecs_service" "this" {
  for_each = local.services

  name                   = each.key
  cluster                = aws_ecs_cluster.this.id
  task_definition        = aws_ecs_task_definition.this[each.key].arn
  desired_count          = 1
  launch_type            = "FARGATE"
  enable_execute_command = false
  propagate_tags         = "SERVICE"
  wait_for_steady_state  = var.wait_for_services

  # Two daemons would launch each run twice, so the old one stops first. The others overlap, and no request is refused.
  deployment_minimum_healthy_percent = each.key == "daemon" ? 0 : 100
  deployment_maximum_percent         = each.key == "daemon" ? 100 : 200

  # The load balancer checks from the start. A webserver that still loads the definitions is not broken.
  health_check_grace_period_seconds = each.key == "web" ? 180 : null

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.private_subnet_ids
    security_groups  = [aws_security_group.dagster.id]
    assign_public_ip = false
  }

  dynamic "load_balancer" {
    for_each = each.key == "web" ? [1] : []

    content {
      target_group_arn = aws_lb_target_group.web.arn
      container_name   = "dagster"
      container_port   = local.web_port
    }
  }

  dynamic "service_registries" {
    for_each = each.key == "code" ? [1] : []

    content {
      registry_arn = aws_service_discovery_service.code.arn
    }
  }

  lifecycle {
    # The provider calls a deployment stable that ECS has rolled back. The apply must fail then, and keep the old task definition.
    postcondition {
      condition     = self.task_definition == aws_ecs_task_definition.this[each.key].arn
      error_message = "The new containers of ${each.key} stayed unhealthy, and ECS brought the old ones back. The log group /rd/${var.name}/dagster/${each.key} has the reason."
    }
  }

  depends_on = [aws_lb_listener.https, aws_secretsmanager_secret_version.database]
}
