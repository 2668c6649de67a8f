variable "environment" {
  description = "dev, test, stage, prod, or a branch's sandbox such as s-mybranch-1a2b3c."
  type        = string

  validation {
    condition     = can(regex("^(dev|test|stage|prod|s-[a-z0-9]{1,8}-[0-9a-f]{6})$", var.environment))
    error_message = "Allowed: dev, test, stage, prod, or s-<8 letters or digits>-<6 hex digits>, as `scripts/cloud/sandbox_id` writes it."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-north-1"
}

variable "branch" {
  description = "Branch of the code, as a tag. Letters that AWS does not allow in tags are replaced."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9 _.:/=+@-]{1,256}$", var.branch))
    error_message = "A tag has at most 256 letters, digits, spaces and _ . : / = + - @. `scripts/cloud/sandbox_id --tag` replaces others."
  }
}

variable "commit" {
  description = "Commit of the code, as a tag."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{7,40}$", var.commit))
    error_message = "A commit has 7 to 40 hex digits."
  }
}

variable "protected" {
  description = "Whether data outlives a destroy, deletion is refused and the database has a standby."
  type        = bool
}

variable "permissions_boundary" {
  description = "ARN of the boundary of all roles, which bootstrap creates for sandboxes; null for none."
  type        = string
  default     = null
}

variable "repository_arns" {
  description = "ARNs of the repositories that bootstrap created."
  type        = object({ jobs = string, orchestrator = string })

  validation {
    condition     = alltrue([for arn in values(var.repository_arns) : can(regex("^arn:aws[a-z-]*:ecr:[a-z0-9-]+:[0-9]{12}:repository/.+$", arn))])
    error_message = "ARNs as bootstrap prints them: arn:aws:ecr:<region>:<account>:repository/<name>."
  }
}

variable "jobs_image" {
  description = "Image of the jobs, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.jobs_image))
    error_message = "Name the image by its digest, as repository@sha256:…: a tag may be moved within a run."
  }
}

variable "orchestrator_image" {
  description = "Image of Dagster's containers, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.orchestrator_image))
    error_message = "Name the image by its digest, as repository@sha256:…."
  }
}

variable "source_name" {
  description = "Name of the source's folder in the lake, docs/deploy.md says how to print it: demo, tides-<folder>-<hash>, warehouse-<file>-<hash>."
  type        = string
  default     = "demo"
}

variable "source_settings" {
  description = "Where raw data comes from: docs/settings.md."
  type = object({
    source         = optional(string, "demo")
    operator       = optional(string)
    gtfs_path      = optional(string)
    warehouse_file = optional(string)
    history_start  = optional(string)
  })
  default = {}

  validation {
    condition     = contains(["demo", "tides", "warehouse"], var.source_settings.source)
    error_message = "source is demo, tides or warehouse."
  }
}

variable "raw_bucket" {
  description = "Existing bucket of raw data; null creates one. An existing one must send its events to EventBridge."
  type        = string
  default     = null
}

variable "raw_prefix" {
  description = "Prefix of raw data in its bucket."
  type        = string
  default     = "tides/"
}

variable "warehouse" {
  description = "Glue database, bucket and prefix of raw data behind Athena; null without a warehouse."
  type        = object({ database = string, bucket = string, prefix = string })
  default     = null
}

variable "readable_environment" {
  description = "Another environment whose tables jobs read, by name and buckets: for a sandbox, what bootstrap allows to sandboxes. Null for none."
  type        = object({ name = string, buckets = list(string) })
  default     = null
}

variable "cidr" {
  description = "Addresses of the network. Null: 10.20.0.0/16 to 10.23.0.0/16 for dev, test, stage and prod, and a part of 10.64.0.0/10 for each sandbox."
  type        = string
  default     = null

  validation {
    condition     = var.cidr == null || can(regex("/(1[6-9]|2[0-4])$", var.cidr)) && can(cidrhost(var.cidr, 0))
    error_message = "Addresses such as 10.20.0.0/16, with 16 to 24 bits: AWS allows 16 to 28, and the network has 16 parts."
  }
}

variable "nat_gateway" {
  description = "Whether the private subnets reach the internet. It costs by the hour and gigabyte."
  type        = bool
}

variable "interface_endpoints" {
  description = "AWS services with an endpoint in the network. Each costs by the hour and zone."
  type        = list(string)
  default     = []

  validation {
    condition     = var.nat_gateway || length(setsubtract(["athena", "ec2", "ecr.api", "ecr.dkr", "ecs", "glue", "kms", "logs", "monitoring", "sagemaker.api", "secretsmanager", "sqs", "sts"], var.interface_endpoints)) == 0
    error_message = "Without nat_gateway, containers and jobs need athena, ec2, ecr.api, ecr.dkr, ecs, glue, kms, logs, monitoring, sagemaker.api, secretsmanager, sqs and sts."
  }

  validation {
    condition     = var.nat_gateway || length(var.alarm_emails) == 0 || contains(var.interface_endpoints, "sns")
    error_message = "Without nat_gateway, Dagster needs sns to send its alerts to alarm_emails."
  }
}

variable "kafka" {
  description = "The existing Kafka cluster and its Schema Registry, if there is one. cidrs are the addresses of both. Topics get the environment as their prefix."
  type = object({
    bootstrap_servers        = string
    cidrs                    = list(string)
    security_protocol        = optional(string, "SASL_SSL")
    sasl_mechanism           = optional(string, "SCRAM-SHA-512")
    sasl_username            = optional(string)
    replication              = optional(number, 3)
    schema_registry_url      = optional(string)
    schema_registry_username = optional(string)
  })

  validation {
    condition     = alltrue([for server in split(",", var.kafka.bootstrap_servers) : can(regex("^[^:/]+:[0-9]+$", trimspace(server)))])
    error_message = "bootstrap_servers is host:port,host:port."
  }

  validation {
    condition     = length(var.kafka.cidrs) > 0 && alltrue([for cidr in var.kafka.cidrs : can(cidrhost(cidr, 0))])
    error_message = "cidrs are addresses of the brokers, such as 10.0.0.0/24."
  }

  validation {
    condition     = contains(["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], var.kafka.security_protocol)
    error_message = "security_protocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
  }

  validation {
    condition     = var.kafka.schema_registry_url == null || can(regex("^https?://[^/:@ ]+(:[0-9]+)?(/[^@ ]*)?$", var.kafka.schema_registry_url))
    error_message = "schema_registry_url is http(s)://host:port. The user belongs in schema_registry_username, and the password in the secret."
  }

  validation {
    condition     = var.kafka.schema_registry_username == null || var.kafka.schema_registry_url != null
    error_message = "schema_registry_username needs schema_registry_url."
  }
}

variable "mlflow_arn" {
  description = "ARN of an MLflow tracking server or app of SageMaker, which environments may share; null if MLflow is created here, is elsewhere, or there is none."
  type        = string
  default     = null
}

variable "mlflow_url" {
  description = "Address of an MLflow outside SageMaker; null for none."
  type        = string
  default     = null
}

variable "create_mlflow" {
  description = "Whether to create an MLflow tracking server. It costs by the hour. Without any MLflow, trainings are recorded in Dagster only."
  type        = bool
}

variable "studio" {
  description = "Whether to create a Studio domain."
  type        = bool
}

variable "feature_group" {
  description = "Whether to create a feature group."
  type        = bool
}

variable "endpoint" {
  description = "Image, model archive and instance type of an endpoint; null for none."
  type        = object({ image = string, model_data_url = string, instance_type = string })
  default     = null
}

variable "sizes" {
  description = "CPU units and MiB of Dagster's containers and of a run; class of the database."
  type = object({
    code     = object({ cpu = number, memory = number })
    web      = object({ cpu = number, memory = number })
    daemon   = object({ cpu = number, memory = number })
    run      = object({ cpu = number, memory = number })
    database = string
  })
}

variable "database_password_version" {
  description = "Version of the password of Dagster's database. A higher number draws a new password and starts the containers again. 0 draws none, for `terraform test`."
  type        = number
  default     = 1

  validation {
    condition     = var.database_password_version >= 0 && floor(var.database_password_version) == var.database_password_version
    error_message = "A whole number."
  }
}

variable "wait_for_services" {
  description = "Whether an apply waits until new containers are healthy."
  type        = bool
  default     = true
}

variable "allowed_cidrs" {
  description = "Addresses that reach the login of Dagster's UI."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : can(cidrhost(cidr, 0))])
    error_message = "Addresses such as 192.0.2.0/24."
  }
}

variable "domain" {
  description = "Domain name of Dagster's UI and its Route 53 zone; null for a UI that is reached from the network alone. In *.example.org, the environment takes the place of the asterisk, so that sandboxes can share a certificate."
  type        = object({ name = string, zone_id = string })
  default     = null

  validation {
    condition     = var.domain == null ? true : can(regex("^(\\*|[a-z0-9-]+)(\\.[a-z0-9-]+)+$", var.domain.name))
    error_message = "name is a domain such as dagster.example.org, or *.sandbox.example.org."
  }
}

variable "certificate_arn" {
  description = "ARN of the certificate of the UI's domain."
  type        = string
}

variable "login" {
  description = "Endpoints and client id of the OIDC provider of the UI's login."
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
  })
  default = null
}

variable "login_client_secret" {
  description = "Client secret of the OIDC provider, from TF_VAR_login_client_secret."
  type        = string
  sensitive   = true
  default     = null

  validation {
    condition     = var.login == null || var.login_client_secret != null
    error_message = "`login` needs TF_VAR_login_client_secret."
  }
}

variable "query_limit_gb" {
  description = "Gigabytes that one Athena query may scan."
  type        = number
  default     = 100
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365], var.log_days)
    error_message = "CloudWatch keeps logs 7, 14, 30, 60, 90, 180 or 365 days."
  }
}

variable "alarm_emails" {
  description = "E-mail addresses that receive alarms."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alarm_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "Addresses such as alarms@example.org."
  }
}

variable "slack" {
  description = "Slack workspace and channel that receive alarms; null for none."
  type        = object({ workspace_id = string, channel_id = string })
  default     = null

  validation {
    condition     = var.slack == null ? true : can(regex("^[0-9A-Z]+$", var.slack.workspace_id)) && can(regex("^[0-9A-Z]+$", var.slack.channel_id))
    error_message = "Ids, not names: a workspace such as T0123ABCD and a channel such as C0123ABCD."
  }
}

variable "chat_region" {
  description = "Region of the API of Slack channels (Amazon Q Developer in chat applications)."
  type        = string
  default     = "eu-west-1"

  validation {
    condition     = contains(["us-east-2", "us-west-2", "ap-southeast-1", "eu-west-1"], var.chat_region)
    error_message = "The API exists in us-east-2, us-west-2, ap-southeast-1 and eu-west-1."
  }
}

variable "slack_channel" {
  description = "Slack channel of the alerts that Dagster sends."
  type        = string
  default     = "#ruter-dagster"
}

variable "quicksight" {
  description = "ARN of the QuickSight group that sees the dashboard of forecasts; null without QuickSight. The account must have a subscription."
  type        = object({ readers_arn = string })
  default     = null

  validation {
    condition     = var.quicksight == null || can(regex("^arn:aws[a-z-]*:quicksight:[a-z0-9-]+:[0-9]{12}:group/[^/]+/[^/]+$", var.quicksight.readers_arn))
    error_message = "readers_arn is as `aws quicksight describe-group` prints it: arn:aws:quicksight:<region>:<account>:group/default/<group>."
  }
}

variable "budget_usd" {
  description = "US dollars a month that the environment may cost."
  type        = number

  validation {
    condition     = var.budget_usd > 0
    error_message = "More than 0."
  }
}
