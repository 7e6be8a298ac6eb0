# syntax=docker/dockerfile:1
FROM python:3.11-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.txt .
RUN /opt/venv/bin/pip install -r requirements.txt

FROM python:3.11-slim
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
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT', '8002')}/api/health\", timeout=2)"]
# gunicorn takes SIGTERM as the wish to finish open replies, for up to 30 s: give `docker stop` as long (--time 40).
CMD ["gunicorn", "chatapi.wsgi"]
