"""One database and one set of servers for all tests that need them, and other plugins for tests wherever they are."""

pytest_plugins = ["tests.support.servers", "tests.support.midnight", "tests.support.static_files", "tests.support.transactions"]
