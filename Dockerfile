# The program and the environment that its lock states, as one image: what a record names by
# digest and what `billing reproduce` runs again years later. scripts/image.sh builds and runs it.
#
# scripts/image.sh gives BASE by the digest that this tag has. It may be any Debian-like image; where
# it lacks Python, Debian's own is installed.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# For sites whose network has a certificate authority of its own; arguments stay out of the image.
ARG PIP_CERT
ARG SSL_CERT_FILE

ENV LANG=C.UTF-8 \
    HOME=/home/billing \
    PATH=/opt/billing/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /opt/billing

# The packages come in a layer of their own, which all commits with the same lock share.
# openssh-client signs records and openssl reads their time stamps; WeasyPrint draws with Pango, in the
# fonts that are there.
COPY pyproject.toml uv.lock hatch_build.py scripts/uv.txt ./
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends openssh-client openssl \
        libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core \
        $(command -v python3 >/dev/null || echo python3 python3-venv); \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log; \
    python3 -m venv /opt/uv; \
    /opt/uv/bin/pip install --quiet --no-cache-dir --require-hashes -r uv.txt; \
    /opt/uv/bin/uv sync --quiet --frozen --no-dev --all-extras --no-install-project --compile-bytecode; \
    rm uv.txt; \
    useradd --create-home billing; \
    mkdir /work; \
    chmod 1777 /home/billing /work

# The build id ties a digest, which no image can hold, to this image (billing_lib/audit/provenance.py).
ARG BASE
ARG COMMIT
ARG BUILD_ID
ENV BILLING_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title=billing-notebooks \
      org.opencontainers.image.base.name=${BASE} \
      org.opencontainers.image.revision=${COMMIT} \
      billing.build-id=${BUILD_ID}
COPY . .
RUN echo "${BUILD_ID}" >image-build-id
RUN /opt/uv/bin/uv sync --quiet --frozen --no-dev --all-extras --compile-bytecode

# The program's own files belong to root: who runs it cannot change it. Any user may run it,
# with a working folder mounted on /work.
USER billing
WORKDIR /work
ENTRYPOINT ["billing"]
CMD ["--help"]
