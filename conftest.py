"""One database and one set of servers for all tests that need them, wherever the tests are."""

pytest_plugins = ["tests.support.servers"]
