# Gridloop against a PostgreSQL of one's own: two roles, see "The two roles of the database" in docs/operations/running.md.
#   migrations: docker run --rm -e GRIDLOOP_OWNER_DATABASE_URL=… -e GRIDLOOP_DATABASE_URL=… -e GRIDLOOP_SECRET_KEYS=… gridloop migrate
#   service:    docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:8000:8000 \
#                   -e GRIDLOOP_DATABASE_URL=… -e GRIDLOOP_SECRET_KEYS=… gridloop
# The key (`gridloop keys secret` prints one) encrypts personal data: every container needs the same, and without it that data is lost.
# In front of it stands a proxy with TLS, see deploy/nginx; name its address with `serve --proxy`.
#
# BASE is to be pinned by its digest, so that the same sources give the same image:
#   docker build --build-arg BASE=python:3.11-slim@sha256:… .
# `docker buildx imagetools inspect python:3.11-slim` shows the digest of today.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
COPY requirements/run.txt requirements/build.txt requirements/
RUN python -m venv /opt/gridloop && /opt/gridloop/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY sync_protocol sync_protocol
COPY migrations migrations
COPY simulator simulator
# The build backend comes from the pins, too: nothing is resolved here.
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
    && /opt/gridloop/bin/pip install --no-deps --no-index /wheels/*.whl \
    && /opt/gridloop/bin/python -m compileall -q /opt/gridloop/lib

FROM ${BASE}
# The numbers are fixed, so that an orchestrator can check that it is not root; the user owns nothing but its home.
RUN groupadd --system --gid 10001 gridloop \
    && useradd --system --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin gridloop
COPY --from=build /opt/gridloop /opt/gridloop
# Nothing is written but to /tmp (metrics of several processes), so the root file system may be read-only.
ENV PATH=/opt/gridloop/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRIDLOOP_DATA=/home/gridloop/data
USER 10001:10001
WORKDIR /home/gridloop
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["gridloop"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]
