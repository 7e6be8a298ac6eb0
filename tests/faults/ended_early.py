"""A gunicorn worker whose first process is told to end while it starts."""

import os
import signal

from gunicorn_worker.worker import Worker


class EndedEarly(Worker):
    def patch(self) -> None:
        if self.age == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        super().patch()
