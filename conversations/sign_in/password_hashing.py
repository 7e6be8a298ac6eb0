"""Hashing the passwords of staff without holding up anything else.

PBKDF2 takes a quarter of a second of CPU by design. On the event loop that is a quarter of a second in which no reply gets a
token, so the server hands over a way to run it in a thread of the operating system (see `run_in_os_thread`). hashlib releases
the interpreter's lock meanwhile.
"""

from collections.abc import Callable

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from chatapi.database.connections import release_connections

# Run a function in a thread of the operating system and return its result. Without a server's own way: in this thread.
RunInOSThread = Callable[[Callable[[], str]], str]
_run_in_os_thread: RunInOSThread = lambda function: function()  # noqa: E731


def hash_passwords_with(run_in_os_thread: RunInOSThread) -> None:
    """Take the server's way to run a function beside its event loop."""
    global _run_in_os_thread
    _run_in_os_thread = run_in_os_thread


class PatientPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's own hasher and hashes. Holds no database connection and no event loop while it computes."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        release_connections()
        return _run_in_os_thread(lambda: super(PatientPBKDF2PasswordHasher, self).encode(password, salt, iterations))
