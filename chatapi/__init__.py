"""The Django project of the chat API service."""

# The one place of the version: the health check, the metrics and the log show it. See CONTRIBUTING.md for releases.
__version__ = "1.2.0.dev0"
