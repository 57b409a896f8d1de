# docker build -t quintet .                      the service with the embedded model, on a CPU
# docker build -t quintet:gpu --target gpu .     the same for NVIDIA GPUs
# docker run -p 127.0.0.1:8080:8080 -e EMBED_OPEN=true quintet
#                                                SageMaker and Azure append `serve`, the default too
# docker run -p 8080:8080 --read-only --tmpfs /tmp -v weights:/weights \
#     -v $PWD/keys:/keys:ro -e EMBED_KEYS_FILE=/keys/keys \
#     -e EMBED_MODEL=jinaai/jina-embeddings-v3 -e EMBED_MODEL_REVISION=<commit> quintet
# docker run --gpus 1 --read-only --tmpfs /tmp:exec ... -e EMBED_DEVICES=cuda:0 quintet:gpu
#                                                /tmp has compiled code: by itself it is noexec

FROM debian:12-slim AS build
# No versions: Debian 12 changes a package for its security only, and that is wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/quintet
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# Torch comes for NVIDIA GPUs from the default index, with CUDA's libraries, some GB of them. For a
# CPU give the index of torch's CPU builds (pytorch.org, "Get started"), which is then preferred:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=<that index> .
ARG PIP_EXTRA_INDEX_URL=
# What is installed changes seldom, the service often: a layer for each.
RUN python3 -c 'import tomllib; own = tomllib.load(open("pyproject.toml", "rb"))["project"]; extra = own["optional-dependencies"]; print(*own["dependencies"], *extra["redis"], *extra["tracing"], sep="\n")' \
        > requirements.txt \
    && /opt/quintet/bin/pip install --no-cache-dir -c constraints.txt -r requirements.txt 'setuptools>=80'
COPY README.md LICENSE ./
COPY app app
COPY model model
RUN /opt/quintet/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/quintet/bin/pip uninstall --yes pip

FROM debian:12-slim AS service
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Quintet" \
      org.opencontainers.image.description="Embeddings of jina-embeddings-v3, all five adapters" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home quintet \
    && install -d -o 10001 -g 10001 /weights /data
# Who may ask is said here, in compose.yaml and in docker/kubernetes/base/settings.env, nowhere else.
ENV EMBED_HOST=0.0.0.0 EMBED_PORT=8080 HF_HOME=/weights PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/quintet/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Not by urllib, which would ask a proxy of the environment for 127.0.0.1.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["/opt/quintet/bin/python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', os.environ.get('EMBED_PORT') or 8080, timeout=2); c.request('GET', '/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["/opt/quintet/bin/quintet"]
CMD ["serve"]

FROM service AS gpu
# Triton compiles its kernels and what starts them on the machine with the GPU.
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libpython3-dev \
    && rm -rf /var/lib/apt/lists/*
USER 10001
# NVIDIA's container toolkit mounts the driver where it reads the first three, and refuses one that
# is too old for the torch of constraints.txt (CUDA 13: driver 580). GKE mounts it into the folders
# of LD_LIBRARY_PATH. What is compiled goes to /tmp, also for a user without a home or a name.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA="cuda>=13.0" \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    HOME=/tmp TRITON_CACHE_DIR=/tmp/triton
COPY --from=build /opt/quintet /opt/quintet

FROM service AS cpu
COPY --from=build /opt/quintet /opt/quintet
