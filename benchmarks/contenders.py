"""The servers that are measured side by side: this service, nginx as a bare relay, and a FastAPI service with the same work.

All relay from one metronome, and each has the same processor while it is measured.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.databases import new_database
from benchmarks.measuring import PROCESSORS, SERVER_PROCESSOR, pin
from devstack.folder import PROJECT
from devstack.processes import free_port
from devstack.watcher import kill_children_at_the_end
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import wait_until

WORDS = "Tell me something."
USERS = 10
START_LIMIT_S = 30.0
BENCH_PYTHON = PROJECT / ".venv-bench" / "bin" / "python"
HEAD = (
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
)
INSERT = (
    "INSERT INTO conversations (id, user_id, title, model_tag) "
    "SELECT gen_random_uuid(), %s, 'New conversation', 'default' FROM generate_series(1, %s) RETURNING id"
)
NGINX = """
worker_processes 1;
daemon off;
error_log {folder}/error.log;
pid {folder}/pid;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream inference {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://inference;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


@dataclass
class Contender:
    """A running server: where it answers, and the processes that do its work."""

    name: str
    port: int
    workers: list[int]
    # Where its conversations are; "" for a bare relay.
    database_url: str = ""

    def requests(self, count: int, tokens: int, rate: int) -> list[bytes]:
        """Return `count` sends, each to a new conversation, from a few users in turn. Each reply has `tokens` tokens."""
        limits = f'"max_tokens": {tokens}, "top_k": {rate}'
        if not self.database_url:
            body = f'{{"messages": [{{"role": "user", "content": "{WORDS}"}}], "temperature": 0.8, {limits}}}'
            return [HEAD.format(path="/generate", token="none", length=len(body), body=body).encode()] * count
        body = f'{{"content": "{WORDS}", {limits}}}'
        requests = [b""] * count
        with psycopg.connect(self.database_url) as connection:
            for number in range(USERS):
                user = uuid.UUID(int=number + 1)
                places = range(number, count, USERS)
                conversations = connection.execute(INSERT, [user, len(places)]).fetchall()
                for place, (conversation,) in zip(places, conversations, strict=True):
                    path = f"/api/conversations/{conversation}/messages"
                    head = HEAD.format(path=path, token=make_token(user), length=len(body), body=body)
                    requests[place] = head.encode()
        return requests


@contextmanager
def metronome(token_bytes: int = 0) -> Iterator[tuple[int, int]]:
    """Run an inference service; yield its port and its process id."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.metronome", f"--port={port}", f"--token-bytes={token_bytes}"]
    with _running(command, port, "the metronome answers") as process:
        yield port, process.pid


@contextmanager
def our_service(base: str, upstream: int, *, workers: int = 1, database_url: str = "", **settings: str) -> Iterator[Contender]:
    """Run this service as in production, on an empty database if it is given none, with a processor for each worker."""
    url = database_url or new_database(base, "ours")
    with ExitStack() as parts:
        auth = parts.enter_context(ScriptedAuth())
        server = Server(
            database_url=url,
            auth_url=auth.url,
            upstream_url=f"http://127.0.0.1:{upstream}",
            WEB_CONCURRENCY=str(workers),
            **settings,
        )
        parts.enter_context(server)
        wait_until(lambda: len(server.workers()) == workers, "all workers run")
        pids = server.workers()
        for number, pid in enumerate(pids):
            pin(pid, [PROCESSORS[number % len(PROCESSORS)]])
        for number in range(USERS):
            Client(server.port, make_token(uuid.UUID(int=number + 1))).get("/api/conversations")
        yield Contender("this service", server.port, pids, url)


@contextmanager
def nginx(upstream: int) -> Iterator[Contender | None]:
    """Run nginx as a relay that adds nothing, or yield None where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        print("nginx is not installed, so nothing is compared with it (on Debian: apt-get install nginx-light)")
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chat-api-nginx-") as folder:
        # Run as root, nginx gives its worker another user, who needs the folder.
        Path(folder).chmod(0o755)
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
        command = [program, "-c", str(configuration), "-p", folder, "-e", f"{folder}/error.log"]
        with _running(command, port, "nginx answers") as process:
            workers = wait_until(lambda: _children(process.pid), "nginx has a worker")
            pin(workers[0], [SERVER_PROCESSOR])
            yield Contender("nginx", port, workers)


@contextmanager
def fastapi(base: str, upstream: int) -> Iterator[Contender | None]:
    """Run the FastAPI service of `fastapi_service`, or yield None where its packages are not installed."""
    if not BENCH_PYTHON.exists():
        print("The FastAPI service's packages are not installed, so nothing is compared with it (`make bench` installs them)")
        yield None
        return
    url = new_database(base, "fastapi", is_migrated=False)
    port = free_port()
    options = ["--host=127.0.0.1", f"--port={port}", "--loop=uvloop", "--http=httptools", "--no-access-log", "--backlog=4096"]
    with ScriptedAuth() as auth:
        environment = {
            "DATABASE_URL": url.replace("postgresql:", "postgresql+asyncpg:"),
            "AUTH_SERVICE_URL": auth.url,
            "INFERENCE_SERVICE_URL": f"http://127.0.0.1:{upstream}",
        }
        command = [str(BENCH_PYTHON), "-m", "uvicorn", "benchmarks.fastapi_service:app", "--log-level=warning", *options]
        with _running(command, port, "the FastAPI service answers", environment) as process:
            pin(process.pid, [SERVER_PROCESSOR])
            yield Contender("FastAPI", port, [process.pid], url)


@contextmanager
def _running(
    command: list[str], port: int, what: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    kill_children_at_the_end()
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
    )
    try:
        wait_until(lambda: _answers(port) or process.poll() is not None, what, START_LIMIT_S)
        assert process.poll() is None, f"{command[0]} ended with status {process.returncode}"
        yield process
    finally:
        process.terminate()
        process.wait(START_LIMIT_S)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
