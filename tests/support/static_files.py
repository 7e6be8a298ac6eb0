"""A pytest plugin: look up the static files once per process.

Each test client has its own handler, and WhiteNoise reads the properties of all files for each handler. That would be most of
the processor time of tests with clients.
"""

from collections.abc import Iterator

import pytest
from whitenoise.middleware import WhiteNoiseMiddleware


@pytest.fixture(scope="session", autouse=True)
def look_up_static_files_once() -> Iterator[None]:
    look_up = WhiteNoiseMiddleware.add_files_from_finders
    found: dict[str, object] = {}

    def look_up_once(middleware: WhiteNoiseMiddleware) -> None:
        if not found:
            look_up(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", look_up_once)
        yield
