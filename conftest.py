"""One database and one set of servers for all tests that need them, and other plugins for tests wherever they are."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.servers", "tests.support.midnight", "tests.support.static_files", "tests.support.transactions"]

# How long drawing or running an example takes says only how busy the machine is.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
