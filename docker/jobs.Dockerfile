# The image of every job, for SageMaker Processing and Training:
#   docker build -f docker/jobs.Dockerfile --build-arg COMMIT=$(git rev-parse HEAD) -t ruter-dagster-jobs .
# checkov:skip=CKV_DOCKER_2:SageMaker watches the process, and calls no health check
# checkov:skip=CKV_DOCKER_3:the entry point switches to the user ruter, as said below
# BASE_DIGEST=sha256:… pins the base image to a digest; BASE may name a mirror.
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
COPY requirements-jobs.lock requirements.lock
RUN uv venv --quiet --python python "$VENV" \
    && uv pip install --quiet --python "$VENV" --require-hashes --only-binary=:all: --compile-bytecode -r requirements.lock
COPY LICENSE README.md pyproject.toml ./
COPY ruter_dagster ./ruter_dagster
# The lock lies beside the package: each materialisation names its hash.
RUN python -m hatchling build --target wheel --directory dist \
    && uv pip install --quiet --python "$VENV" --no-deps --compile-bytecode dist/*.whl \
    && cp requirements.lock "$VENV"/lib/python3.*/site-packages/

FROM ${BASE}${BASE_DIGEST:+@${BASE_DIGEST}} AS jobs
ARG COMMIT=""
LABEL org.opencontainers.image.title="ruter-dagster jobs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${COMMIT}"
# LightGBM needs libgomp1.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home ruter
COPY --from=build /opt/venv /opt/venv
# SageMaker mounts /opt/ml as root's, so that another USER could not leave a reason in /opt/ml/output. There is no USER:
# the entry point makes the output folders this user's, and goes on as this user before it loads anything of a job.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RUTER_COMMIT=${COMMIT} \
    RUTER_CONTAINER_USER=ruter
WORKDIR /home/ruter
# SageMaker stops a job with SIGTERM and kills it two minutes later: the exec form lets the signal reach Python.
ENTRYPOINT ["python", "-m", "ruter_dagster.jobs"]
