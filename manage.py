#!/usr/bin/env python
"""Run Django's and the project's management commands."""

import gc
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatapi.settings")
    # Only the workers of a server keep metrics in files.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import InterfaceError, OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:
        # The text names the wrong variable. A traceback would not help.
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    except (OperationalError, InterfaceError) as failure:
        # Django's own commands, such as clearsessions, would write a traceback of 70 lines.
        from conversations.management.failures import reason_of

        if "--traceback" in sys.argv:
            raise
        sys.exit(f"The database failed: {reason_of(failure)}.")
    finally:
        # Python searches all modules for garbage when it exits. That is a fifth of a short command's time.
        gc.freeze()


if __name__ == "__main__":
    main()
