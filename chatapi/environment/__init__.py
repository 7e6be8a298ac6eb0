"""The service's configuration, read once from environment variables. Not the variables themselves, which `settings` lists.

Principle: the service does not guess. An unset variable has its documented default. A malformed value stops the start with one
line that names the variable and the accepted values. This package does not import Django, so that the settings, the server's
configuration and the tests can use it.
"""

from chatapi.environment.database_url import DatabaseUrl
from chatapi.environment.problem import EnvironmentProblem
from chatapi.environment.reader import EnvironmentReader, Rate, has_domain

__all__ = ["DatabaseUrl", "EnvironmentProblem", "EnvironmentReader", "Rate", "has_domain"]
