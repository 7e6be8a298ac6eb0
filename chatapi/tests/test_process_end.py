"""What a process does with its database connections when it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
# What is registered first runs last: when the service has closed its pools, and shortly before the interpreter shuts down.
USE_AND_END = """
import atexit, json, threading

def look_back():
    print(json.dumps({"before": threads, "after": pool_threads(), "later": ask_in_thread()}))

def pool_threads():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("pool-"))

def ask_in_thread():
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join()
    return answers[0]

def ask():
    from django.db import OperationalError, connection
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()[0]
    except OperationalError as refusal:
        return str(refusal)

atexit.register(look_back)
import django
django.setup()
assert ask() == 1
from django.db import connections
apart = connections["default"].copy(alias="apart")
apart.settings_dict["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1}
apart.pool.open(wait=True)
threads = pool_threads()
"""


@pytest.fixture(scope="module")
def seen() -> Any:
    """What a process saw of its pools before and after they were closed."""
    command = [sys.executable, "-c", USE_AND_END]
    ended = subprocess.run(command, cwd=PROJECT, env=os.environ, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def test_a_process_closes_its_pools_before_it_ends(seen: Any) -> None:
    """On Python 3.13 a command that leaves them open takes 20 s to end, or never does."""
    assert {"pool-1-worker-0", "pool-2-worker-0"} <= set(seen["before"])
    assert seen["after"] == []


def test_a_thread_that_outlives_the_pools_opens_none(seen: Any) -> None:
    assert "closed" in str(seen["later"])
