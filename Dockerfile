# One image, one process, one volume: /data holds the database and, unless they are passed in, the
# keys. docs/deployment.md says how to run it.

FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.txt ./
# The virtual environment that goes into the image has no installer in it.
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --only-binary :all: \
        --require-hashes -r requirements.txt
COPY app.py ./
COPY migrations ./migrations
COPY modelbridge ./modelbridge
COPY static ./static
COPY templates ./templates
# Compiled now, because the running process cannot write here.
RUN python -m compileall -q --invalidation-mode unchecked-hash app.py migrations modelbridge

FROM python:3.13-slim
RUN groupadd --gid 10001 modelbridge \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data \
        --shell /usr/sbin/nologin modelbridge \
    && install -d -o modelbridge -g modelbridge -m 0700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MODELBRIDGE_DATA_DIR=/data \
    MODELBRIDGE_HOST=0.0.0.0
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('MODELBRIDGE_PORT') or 8000), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "app.py"]
