"""The primary surface: /api, with all that the service can do."""
