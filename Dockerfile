# syntax=docker/dockerfile:1
FROM python:3.13-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.lock .
# Wheels only: to build a package, pip would fetch its build tools in any version.
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r requirements.lock

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin chat
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY manage.py gunicorn.conf.py ./
COPY chatapi chatapi
COPY conversations conversations
COPY inference_proxy inference_proxy
USER chat
EXPOSE 8002
# Straight to this container, past any proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import http.client, os, sys; connection = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8002), timeout=2); connection.request('GET', '/api/health'); sys.exit(connection.getresponse().status != 200)"]
# gunicorn takes SIGTERM as the wish to finish open replies, for up to 30 s: give `docker stop` as long (--time 40).
CMD ["gunicorn", "chatapi.wsgi"]
