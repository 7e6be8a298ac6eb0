"""End what a killed test run would leave behind: `python -m devstack.watcher MARK`.

A run marks its environment, and its children inherit the mark, whatever session they are in. The watcher waits until the run
has ended, in whichever way, and kills the processes that still carry the mark.
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
    """Have the children that this process starts from now on killed when it ends, even if it is killed itself."""
    mark = secrets.token_hex(8)
    watcher = subprocess.Popen(
        [sys.executable, "-m", "devstack.watcher", mark],
        cwd=PROJECT,
        env=unmarked_environment(),
        stdin=subprocess.PIPE,  # at its end the watcher knows that this process has ended
        start_new_session=True,  # a signal to this process's group is not for the watcher
    )
    os.environ[VARIABLE] = mark
    atexit.register(watcher.communicate)


def unmarked_environment() -> dict[str, str]:
    """Return the environment of a child that may outlive this process."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def kill_marked(mark: str) -> bool:
    """Kill the processes that carry the mark; say whether there were any."""
    found = False
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == mark:
                process.kill()
                found = True
        except psutil.Error:  # it has ended, or it belongs to another user
            continue
    return found


def main() -> None:
    sys.stdin.read()
    # Again, because a process that is being killed may just have started another one.
    while kill_marked(sys.argv[1]):
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
