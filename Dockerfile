# docker build -t quintet .          the service, with the embedded model, on a CPU
# docker run -p 8080:8080 quintet    SageMaker and Azure append `serve`, which is the default too

FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY model model
# Where wheels come from is pip's business: PIP_EXTRA_INDEX_URL, for torch's builds without CUDA.
ARG PIP_EXTRA_INDEX_URL=
RUN python3 -m venv /opt/quintet \
    && /opt/quintet/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM debian:12-slim AS cpu
LABEL org.opencontainers.image.title="Quintet" \
      org.opencontainers.image.description="Embeddings of jina-embeddings-v3, all five adapters" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home quintet
COPY --from=build /opt/quintet /opt/quintet
ENV EMBED_HOST=0.0.0.0 EMBED_PORT=8080 HF_HOME=/weights PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["/opt/quintet/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ready')"]
ENTRYPOINT ["/opt/quintet/bin/python", "-m", "app"]
CMD ["serve"]
