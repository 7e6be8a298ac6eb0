"""How a worker accepts connections and stops accepting them, beside other processes that have the same socket."""

import socket
import subprocess
import sys

# A worker that ends: it closes its listening socket, then has no descriptors left, and still has work to do.
ENDING_WORKER = """
import gevent.monkey
gevent.monkey.patch_all()
import logging, resource, socket, sys
import gevent.socket
from gunicorn_worker.connections import Listener
listening = socket.socket(fileno=int(sys.argv[1]))
server = Listener(listening, handle=print, spawn=gevent.spawn, log=logging.getLogger())
server.start()
gevent.sleep(0.01)
server.close()
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
print("closed", flush=True)
gevent.socket.wait_read(sys.stdin.fileno())
for _ in range(3):  # turns of the loop
    gevent.sleep(0.001)
print("alive", flush=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
"""


def test_a_connection_for_the_others_does_not_end_a_worker_without_descriptors() -> None:
    with socket.create_server(("127.0.0.1", 0)) as master:
        with subprocess.Popen(
            [sys.executable, "-c", ENDING_WORKER, str(master.fileno())],
            pass_fds=[master.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "closed\n"
            with socket.create_connection(master.getsockname()):
                assert worker.communicate("go on\n", timeout=30) == ("alive\n", None)
            assert worker.returncode == 0
