"""A reply in a process whose memory is used up: it ends, with the text that was shown.

In a child process under a real limit of its address space. The allocation that fails is far larger than what is left, so it is
always the same one, and what ends the reply has room.
"""

import os
import subprocess
import sys
import textwrap

from devstack.folder import PROJECT

CHILD = """
    import logging, resource, sys, uuid

    import django

    django.setup()
    logging.disable(logging.CRITICAL)

    from inference_proxy.protocols.base import GenerationRequest
    from inference_proxy.replies.generation import Generation

    MEBIBYTE = 1024 * 1024


    class Call:
        has_ended_cleanly = True
        is_cut = False

        def __init__(self):
            self.pieces = [b'data: {"token": "what was "}\\n\\n', b'data: {"token": "shown"}\\n\\n']

        def open(self, *_):
            pass

        def read(self, *, is_ready=False):
            if self.pieces:
                return self.pieces.pop(0)
            # The next event, if it were as long.
            return bytes(4096 * MEBIBYTE)

        def cut(self):
            self.is_cut = True

        close = cut


    class Store:
        reply = None

        def finish(self, reply):
            self.reply = reply


    store, call = Store(), Call()
    generation = Generation(uuid.UUID(int=7), GenerationRequest([{"role": "user", "content": "Hi"}]), store)
    generation._call = generation._asking._call = call
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 256 * MEBIBYTE,) * 2)
    generation.start()
    assert generation.has_ended.wait(30), "the reply never ended"
    assert generation.is_thread_gone or generation.is_saved
    print(store.reply.status, store.reply.text, generation.is_saved, call.is_cut, sep="|")
"""


def test_a_reply_ends_where_no_memory_is_left() -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "chatapi.settings",
        "SECRET_KEY": "only-for-tests-of-memory-3b1f7c9a5e8d4026",
        "DATABASE_URL": "postgresql://nobody@localhost/none",
        "INTERNAL_API_KEY": "only-for-tests-of-memory-91c4e7",
        "INFERENCE_PROTOCOL": "nanochat",
    }
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "failed|what was shown|True|True"
