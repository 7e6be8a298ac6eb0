"""Kill the processes that a killed process leaves behind: `python -m devstack.watcher MARK`.

The process marks its environment, and its children inherit the mark. The watcher waits for the end of the process, kills every
process that still carries the mark, and removes the folders named on its standard input.
"""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import psutil

from devstack.folder import PROJECT

VARIABLE = "CHAT_API_STARTED_BY"
PAUSE_S = 0.1


def kill_children_at_the_end() -> None:
    """Have the children that this process starts from now on killed when it ends, even if it is killed."""
    _start_watcher()


def remove_at_the_end(folder: Path) -> None:
    """Have a folder removed when this process ends, even if it is killed."""
    pipe = _start_watcher().stdin
    assert pipe
    pipe.write(f"{folder}\n")
    pipe.flush()


@cache
def _start_watcher() -> "subprocess.Popen[str]":
    mark = secrets.token_hex(8)
    watcher = subprocess.Popen(
        [sys.executable, "-m", "devstack.watcher", mark],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name != VARIABLE},
        stdin=subprocess.PIPE,  # end of file tells the watcher that this process has ended
        start_new_session=True,  # signals to this process group must not reach the watcher
        text=True,
    )
    os.environ[VARIABLE] = mark
    atexit.register(watcher.communicate)
    return watcher


def kill_marked(mark: str) -> bool:
    """Kill the processes that carry the mark. Return whether there were any."""
    found = False
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == mark:
                # PostgreSQL removes its shared memory on SIGQUIT. SIGKILL would leave it to the machine.
                process.send_signal(signal.SIGQUIT if process.name() == "postgres" else signal.SIGKILL)
                found = True
        except psutil.Error:  # the process has ended, or belongs to another user
            continue
    return found


def main() -> None:
    folders = sys.stdin.read().splitlines()
    # Repeat, because a dying process may just have started another one.
    while kill_marked(sys.argv[1]):
        time.sleep(PAUSE_S)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
