# Gridloop against a PostgreSQL of one's own: set GRIDLOOP_DATABASE_URL.
#   migrations: docker run --rm -e GRIDLOOP_DATABASE_URL=… gridloop migrate
#   service:    docker run -p 8000:8000 -e GRIDLOOP_DATABASE_URL=… -e GRIDLOOP_SECRET_KEYS=… gridloop
# The key (`gridloop keys secret` prints one) encrypts personal data: every container needs the same, and without it that data is lost.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/run.txt requirements/dev.txt requirements/
RUN python -m venv /opt/gridloop && /opt/gridloop/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY service service
COPY sync_protocol sync_protocol
COPY migrations migrations
# The build backend comes from the pins, too: nothing is resolved here.
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/dev.txt \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
    && /opt/gridloop/bin/pip install --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim
RUN useradd --system --create-home --uid 10001 gridloop
COPY --from=build /opt/gridloop /opt/gridloop
ENV PATH=/opt/gridloop/bin:$PATH PYTHONUNBUFFERED=1 GRIDLOOP_DATA=/home/gridloop/data
USER gridloop
WORKDIR /home/gridloop
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["gridloop"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]
