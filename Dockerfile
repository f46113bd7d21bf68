# syntax=docker/dockerfile:1
#
#   docker build -t relish .                          the encoder on the CPU
#   docker build -t relish:cuda --build-arg DEVICE=cuda .    on a GPU, with CUDA 13 and cuDNN 9 in the image
#
# deploy/README.md says what of it was checked, and how.
ARG DEVICE=cpu

FROM golang:1.26-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Debian's packages are not pinned: its security fixes are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends make maven python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# What changes least comes first: the downloads, each pinned and checked by its SHA-256; then the modules.
COPY Makefile ./
COPY internal/setup/ internal/setup/
ARG DEVICE
RUN if [ "$DEVICE" = cuda ]; then for part in onnxruntime-cuda cuda; do internal/setup/fetch.sh "$part"; done; fi \
 && make fetch fetch-fp32
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=container
RUN make build VERSION="$VERSION"

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libgomp1 libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 relish \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin relish \
 && install -d -o relish -g relish -m 0750 /data
# The assets lie beside the binary, where it looks for them.
COPY --from=build /src/.cache/ /opt/relish/.cache/
COPY --from=build /src/bin/relish /opt/relish/bin/relish
RUN ln -s /opt/relish/bin/relish /usr/local/bin/relish
# LD_LIBRARY_PATH matters on a GPU only. The address is one that other machines reach, so serve insists on keys
# in relish.yaml, or on RELISH_OPEN=true from someone whose network keeps others out.
ENV LD_LIBRARY_PATH=/opt/relish/.cache/onnxruntime:/opt/relish/.cache/cuda \
    RELISH_DATA=/data \
    RELISH_ADDR=0.0.0.0:8080 \
    RELISH_LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# Starting takes as long as reading the log back does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 CMD ["relish", "doctor", "--url", "http://127.0.0.1:8080"]
ENTRYPOINT ["relish"]
CMD ["serve"]
