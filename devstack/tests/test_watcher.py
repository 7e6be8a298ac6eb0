"""A test run that is killed, with real servers."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devstack.folder import PROJECT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# For a run of pytest to start, or to end, on a busy machine.
LIMIT_S = 120
# Test servers have sessions of their own, as the first child has.
MODULE = """
import json, subprocess, sys, threading
from pathlib import Path
from tests.support.valkey import running_valkey

def test_never_ends():
    apart = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    with running_valkey() as valkey:
        Path("FILE").write_text(json.dumps([apart.pid, valkey._process.pid]))
        threading.Event().wait()
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not pytest's tmp_path: only its owner may enter that, and as root PostgreSQL runs as another user.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="devstack-test-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.mark.parametrize("victim", ["the run", "its worker"])
def test_a_killed_run_leaves_no_process_behind(folder: Path, victim: str) -> None:
    module, pids = folder / "test_blocked.py", folder / f"pids of {victim}"
    module.write_text(MODULE.replace("FILE", str(pids)))
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        f"--config-file={PROJECT / 'pytest.ini'}",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:schemathesis",
    ]
    run = subprocess.Popen(
        [*command, "--numprocesses=1", "--max-worker-restart=0", str(module)],
        cwd=PROJECT,
        env={**environment, "DEVSTACK_DIR": str(folder / "devstack")},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: pids.exists() and bool(pids.read_text()), "the test runs", LIMIT_S)
        started = [psutil.Process(pid) for pid in json.loads(pids.read_text())]
        processes = {*psutil.Process(run.pid).children(recursive=True), *started}
        victims = {"the run": run, "its worker": started[0].parent()}
        victims[victim].kill()
        wait_until(lambda: not any(process.is_running() for process in processes), "the run's processes have ended", LIMIT_S)
        run.wait(LIMIT_S)
    finally:
        run.kill()
        run.wait()
