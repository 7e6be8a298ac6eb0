# syntax=docker/dockerfile:1
FROM python:3.13-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.lock .
# Wheels only: to build a package from source, pip would download build tools that the lock file does not pin.
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r requirements.lock

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin chat
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY manage.py gunicorn.conf.py ./
COPY gunicorn_worker gunicorn_worker
COPY chatapi chatapi
COPY conversations conversations
COPY inference_proxy inference_proxy
COPY examples examples
USER chat
EXPOSE 8002
# http.client ignores proxy variables, so the check always reaches this container.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import http.client, os, sys; connection = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8002), timeout=2); connection.request('GET', '/api/health'); sys.exit(connection.getresponse().status != 200)"]
# On SIGTERM gunicorn lets running replies finish for up to 30 s. Give `docker stop` more time than that: --time 40.
CMD ["gunicorn", "chatapi.wsgi"]
