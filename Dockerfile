# One image for everything: Ray's head and workers, jobs, Serve and the command line. Only what is started in it
# differs, so every process of a cluster has the same code and the same versions.
#
#   docker build -t huggingtweets-ray:0.1.0 .                                           # GPUs
#   docker build -t huggingtweets-ray:0.1.0-cpu --build-arg BASE_IMAGE=python:3.11-slim .   # any Debian with Python 3.11
#   docker run --rm --no-healthcheck --shm-size=2g huggingtweets-ray:0.1.0-cpu huggingtweets demo --once
#
# Ray's own image brings the CUDA toolkit and what a Ray cluster launcher expects (ssh, rsync). The Ray that runs is
# the one from requirements.lock, in a virtual environment that comes first on the PATH, whatever the base image has.
# On both bases nothing comes from apt, so a build needs a package index and nothing else.
ARG BASE_IMAGE=rayproject/ray:2.60.0-py311-gpu

# (hadolint's DL3002 asks for an ordinary user at each stage's end; only the last stage becomes an image.)

# The third-party packages: gigabytes that change only with the lock file, so they get a stage and a layer of their own.
# Only what the package itself needs, in the versions of the lock file; development tools (700 MB) are left out.
FROM ${BASE_IMAGE} AS dependencies
# hadolint ignore=DL3002
USER 0
RUN python3 -m venv /opt/venv
# torch is pinned without a build (CPU or CUDA); the package index decides which one is installed. For a small image
# without CUDA, name the index with PyTorch's CPU wheels here (its 2.13.0+cpu takes precedence over 2.13.0).
ARG PIP_EXTRA_INDEX_URL
COPY requirements.lock pyproject.toml /tmp/
# The cache mount keeps wheels out of the layer, and makes the next lock file fetch only what it changes.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -c "import tomllib; print(*tomllib.load(open('/tmp/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > /tmp/requirements.txt && \
    /opt/venv/bin/pip install --disable-pip-version-check -c /tmp/requirements.lock -r /tmp/requirements.txt

# What the environment consists of, as a CycloneDX document; the tool that writes it stays in this stage.
FROM dependencies AS bill-of-materials
RUN python3 -m venv /opt/cyclonedx && \
    /opt/cyclonedx/bin/pip install --disable-pip-version-check --no-cache-dir cyclonedx-bom==7.5.0 && \
    /opt/cyclonedx/bin/cyclonedx-py environment --output-reproducible -o /sbom.cdx.json /opt/venv/bin/python

# Our own package, built with the lock's setuptools into a folder laid out like the environment; its sources stay
# in this stage.
FROM ${BASE_IMAGE} AS package
# hadolint ignore=DL3002
USER 0
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY huggingtweets huggingtweets
COPY pipeline pipeline
COPY serve serve
RUN --mount=type=bind,from=dependencies,source=/opt/venv,target=/opt/venv \
    /opt/venv/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps --no-build-isolation --prefix /dist .

FROM ${BASE_IMAGE}
USER 0
# Ray's image has the user ray (1000:100) already; elsewhere we make the same one, so that manifests work with both.
RUN getent passwd 1000 >/dev/null || useradd --create-home --uid 1000 --gid 100 --shell /bin/bash ray
COPY --from=bill-of-materials /sbom.cdx.json /opt/sbom.cdx.json
COPY --from=dependencies /opt/venv /opt/venv
# The layer that a new version of the code replaces: a few megabytes.
COPY --from=package /dist /opt/venv
# Thread counts are not set here: Ray sets OMP_NUM_THREADS for each worker, and our commands choose for theirs.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
# A number, not a name: Kubernetes' runAsNonRoot can check only that.
USER 1000:100
WORKDIR /home/ray
# Serve. The dashboard's port, 8265, is left out on purpose: it runs any job that it is sent.
EXPOSE 8000
# Each node's agent answers for its raylet, on the head for the GCS too, and asks for no token; Kubernetes' probes ask
# it as well. A container that runs no Ray node (a single command) is started with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:52365/api/healthz', timeout=8)"]
# No ENTRYPOINT: KubeRay and `ray up` start this image with commands of their own.
CMD ["huggingtweets", "--help"]
