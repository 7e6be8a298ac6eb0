"""Kill the processes that a killed test run leaves behind: `python -m devstack.watcher MARK`.

A run marks its environment, and its child processes inherit the mark. The watcher waits for the end of the run and then kills
the processes that still carry the mark.
"""

import atexit
import os
import secrets
import subprocess
import sys
import time
from functools import cache

import psutil

from devstack.folder import PROJECT

VARIABLE = "CHAT_API_TEST_RUN"
PAUSE_S = 0.1


@cache
def kill_children_at_the_end() -> None:
    """Make a watcher kill the children of this process when it ends, even if it is killed."""
    mark = secrets.token_hex(8)
    watcher = subprocess.Popen(
        [sys.executable, "-m", "devstack.watcher", mark],
        cwd=PROJECT,
        env=unmarked_environment(),
        stdin=subprocess.PIPE,  # end of file tells the watcher that this process has ended
        start_new_session=True,  # signals to this process group must not reach the watcher
    )
    os.environ[VARIABLE] = mark
    atexit.register(watcher.communicate)


def unmarked_environment() -> dict[str, str]:
    """Return the environment of a child that may outlive this process."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def kill_marked(mark: str) -> bool:
    """Kill the processes that carry the mark. Return whether there were any."""
    found = False
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == mark:
                process.kill()
                found = True
        except psutil.Error:  # the process has ended, or belongs to another user
            continue
    return found


def main() -> None:
    sys.stdin.read()
    # Repeat, because a dying process may just have started another one.
    while kill_marked(sys.argv[1]):
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
