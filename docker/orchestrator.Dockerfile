# The image of Dagster's own processes: webserver, daemon and code location, a container each; run workers are processes
# of the code location's.
#   docker build -f docker/orchestrator.Dockerfile --build-arg COMMIT=$(git rev-parse HEAD) --build-arg BRANCH=$(git branch --show-current) \
#     -t ruter-dagster .
# `--target workstation` adds what the jobs need: docker-compose.yml runs them as processes of the code location.
# checkov:skip=CKV_DOCKER_2:each container has a check of its own, in docker-compose.yml and in its task definition on ECS
# BASE_DIGEST=sha256:… pins the base image to a digest; BASE may name a mirror. docker/dagster.yaml names the instance's variables.
ARG BASE=python:3.11.14-slim-bookworm
ARG BASE_DIGEST=""

FROM ${BASE}${BASE_DIGEST:+@${BASE_DIGEST}} AS build
ENV VENV=/opt/venv \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements-build.lock ./
RUN python -m pip install --quiet --require-hashes --only-binary=:all: -r requirements-build.lock
COPY requirements-orchestrator.lock requirements.lock
RUN uv venv --quiet --python python "$VENV" \
    && uv pip install --quiet --python "$VENV" --require-hashes --only-binary=:all: --compile-bytecode -r requirements.lock
COPY LICENSE README.md pyproject.toml ./
COPY packages/dagster-sagemaker/LICENSE packages/dagster-sagemaker/README.md packages/dagster-sagemaker/pyproject.toml ./packages/dagster-sagemaker/
COPY packages/dagster-sagemaker/dagster_sagemaker ./packages/dagster-sagemaker/dagster_sagemaker
COPY ruter_dagster ./ruter_dagster
RUN uv build --quiet --wheel --no-build-isolation --python python --out-dir dist packages/dagster-sagemaker \
    && python -m hatchling build --target wheel --directory dist \
    && uv pip install --quiet --python "$VENV" --no-deps --compile-bytecode dist/*.whl \
    && cp requirements.lock "$VENV"/lib/python3.*/site-packages/

FROM build AS build-with-jobs
COPY requirements-jobs.lock ./
RUN uv pip install --quiet --python "$VENV" --require-hashes --only-binary=:all: --compile-bytecode -r requirements-jobs.lock

FROM ${BASE}${BASE_DIGEST:+@${BASE_DIGEST}} AS runtime
ARG COMMIT=""
ARG BRANCH=""
LABEL org.opencontainers.image.title="ruter-dagster orchestrator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${COMMIT}"
RUN useradd --uid 1000 --create-home ruter \
    && install --directory --owner ruter --group ruter /opt/dagster /opt/dagster/state
COPY docker/dagster.yaml /opt/dagster/dagster.yaml
# Terraform sets DAGSTER_HOME to this folder: each run is a task of ECS.
COPY docker/ecs/dagster.yaml /opt/dagster/ecs/dagster.yaml
ENV PATH=/opt/venv/bin:$PATH \
    DAGSTER_HOME=/opt/dagster \
    PYTHONUNBUFFERED=1 \
    RUTER_COMMIT=${COMMIT} \
    RUTER_BRANCH=${BRANCH}
WORKDIR /opt/dagster
EXPOSE 4000
# The code location; webserver, daemon and run workers name a command of their own.
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "4000", "-m", "ruter_dagster.definitions"]

FROM runtime AS workstation
# LightGBM needs libgomp1.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-with-jobs /opt/venv /opt/venv
USER 1000:1000

FROM runtime AS orchestrator
COPY --from=build /opt/venv /opt/venv
USER 1000:1000
# On ECS only /tmp is writable. Fargate gives an empty volume to root alone, unless the image declares the folder: then its rights are kept.
VOLUME ["/tmp"]
