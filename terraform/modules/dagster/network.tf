resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "Load balancer of Dagster's UI"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each = toset(var.allowed_cidrs)

  security_group_id = aws_security_group.balancer.id
  description       = "HTTPS of people"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "balancer_web" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "Webserver"
  ip_protocol                  = "tcp"
  from_port                    = local.web_port
  to_port                      = local.web_port
  referenced_security_group_id = aws_security_group.dagster.id
}

resource "aws_vpc_security_group_egress_rule" "balancer_login" {
  security_group_id = aws_security_group.balancer.id
  description       = "Login of the identity provider"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_security_group" "dagster" {
  name        = "${var.name}-dagster"
  description = "Dagster's containers"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "web" {
  security_group_id            = aws_security_group.dagster.id
  description                  = "UI from the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = local.web_port
  to_port                      = local.web_port
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_vpc_security_group_ingress_rule" "code" {
  security_group_id            = aws_security_group.dagster.id
  description                  = "Code location from webserver, daemon and runs"
  ip_protocol                  = "tcp"
  from_port                    = local.code_port
  to_port                      = local.code_port
  referenced_security_group_id = aws_security_group.dagster.id
}

resource "aws_vpc_security_group_egress_rule" "code" {
  security_group_id            = aws_security_group.dagster.id
  description                  = "Code location"
  ip_protocol                  = "tcp"
  from_port                    = local.code_port
  to_port                      = local.code_port
  referenced_security_group_id = aws_security_group.dagster.id
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.dagster.id
  description       = "AWS services and Slack"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  for_each = { for rule in setproduct(var.kafka_cidrs, var.kafka_ports) : "${rule[0]}-${rule[1]}" => rule }

  security_group_id = aws_security_group.dagster.id
  description       = "Kafka brokers: the code location sends statuses of forecasts"
  ip_protocol       = "tcp"
  from_port         = each.value[1]
  to_port           = each.value[1]
  cidr_ipv4         = each.value[0]
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id            = aws_security_group.dagster.id
  description                  = "Dagster's database"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.database.id
}

resource "aws_security_group" "database" {
  name        = "${var.name}-database"
  description = "Dagster's database: it opens no connection"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  description                  = "Dagster's containers"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.dagster.id
}

resource "aws_lb" "this" {
  # checkov:skip=CKV_AWS_91:Access logs need a bucket without the environment's key; the OIDC provider records who signs in
  # checkov:skip=CKV2_AWS_28:Without a domain it is internal. With one, it serves only people who are signed in, from allowed addresses
  name                       = var.name
  internal                   = var.domain == null
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.balancer.id]
  subnets                    = var.domain == null ? var.private_subnet_ids : var.public_subnet_ids
  drop_invalid_header_fields = true
  enable_deletion_protection = var.protected
}

resource "aws_lb_target_group" "web" {
  name                 = "${var.name}-web"
  port                 = local.web_port
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = var.vpc_id
  deregistration_delay = 30

  health_check {
    path    = "/server_info"
    matcher = "200"
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  # Dagster's webserver knows no users: without a login, whoever reaches it can launch runs.
  dynamic "default_action" {
    for_each = var.login == null ? [] : [var.login]

    content {
      type  = "authenticate-oidc"
      order = 1

      authenticate_oidc {
        issuer                     = default_action.value.issuer
        authorization_endpoint     = default_action.value.authorization_endpoint
        token_endpoint             = default_action.value.token_endpoint
        user_info_endpoint         = default_action.value.user_info_endpoint
        client_id                  = default_action.value.client_id
        client_secret              = var.login_client_secret
        scope                      = "openid email"
        on_unauthenticated_request = "authenticate"
        session_timeout            = 28800
      }
    }
  }

  default_action {
    type             = "forward"
    order            = 2
    target_group_arn = aws_lb_target_group.web.arn
  }
}

resource "aws_route53_record" "this" {
  count = var.domain == null ? 0 : 1

  zone_id = var.domain.zone_id
  name    = var.domain.name
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}
