# The image in which all jobs of .gitlab-ci.yml run. /opt/ruter-dagster has what the job sandbox-down needs: it runs when the branch is gone.
#   docker build -f docker/ci.Dockerfile -t rd-ci .
# checkov:skip=CKV_DOCKER_2:a job of GitLab runs in it, and no service
# checkov:skip=CKV_DOCKER_3:the runner gives each job a container of its own; a checkout belongs to root, and Buildah needs its rights
# BASE_DIGEST=sha256:… pins the base image to a digest; BASE may name a mirror.
ARG BASE=python:3.11.14-slim-bookworm
ARG BASE_DIGEST=""

FROM ${BASE}${BASE_DIGEST:+@${BASE_DIGEST}} AS ci
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG TERRAFORM=1.11.4
ARG TERRAFORM_SHA256=1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
# LightGBM needs libgomp1, tests need chromium, postgresql and rsync, the job `images` needs buildah.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        awscli buildah ca-certificates chromium curl git jq libgomp1 make postgresql rsync unzip \
    && rm -rf /var/lib/apt/lists/*
RUN curl --fail --silent --show-error --location --output /tmp/terraform.zip \
        "https://releases.hashicorp.com/terraform/${TERRAFORM}/terraform_${TERRAFORM}_linux_amd64.zip" \
    && echo "${TERRAFORM_SHA256}  /tmp/terraform.zip" | sha256sum --check --strict - \
    && unzip -q /tmp/terraform.zip terraform -d /usr/local/bin \
    && rm /tmp/terraform.zip
WORKDIR /opt/ruter-dagster
# The AWS provider lies where Terraform looks before it asks the registry.
COPY terraform/teardown ./terraform/teardown
COPY terraform/stack/.terraform.lock.hcl ./terraform/teardown/
RUN terraform -chdir=terraform/teardown providers mirror -platform=linux_amd64 /usr/local/share/terraform/plugins
COPY requirements-build.lock requirements-orchestrator.lock ./
RUN python -m pip install --quiet --require-hashes --only-binary=:all: -r requirements-build.lock \
    && uv venv --quiet --no-cache --python python /opt/venv \
    && uv pip install --quiet --no-cache --python /opt/venv --require-hashes --only-binary=:all: --compile-bytecode -r requirements-orchestrator.lock
COPY LICENSE README.md pyproject.toml ./
COPY packages/dagster-sagemaker/LICENSE packages/dagster-sagemaker/README.md packages/dagster-sagemaker/pyproject.toml ./packages/dagster-sagemaker/
COPY packages/dagster-sagemaker/dagster_sagemaker ./packages/dagster-sagemaker/dagster_sagemaker
COPY ruter_dagster ./ruter_dagster
RUN uv build --quiet --wheel --no-build-isolation --python python --out-dir dist packages/dagster-sagemaker \
    && python -m hatchling build --target wheel --directory dist \
    && uv pip install --quiet --no-cache --python /opt/venv --no-deps --compile-bytecode dist/*.whl \
    && ln -s /opt/venv/bin/ruter-dagster /usr/local/bin/ruter-dagster \
    && rm -r dist
COPY scripts/cloud ./scripts/cloud
WORKDIR /
CMD ["bash"]
