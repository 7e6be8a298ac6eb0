"""Replies of the inference service: asking for them, reading them, passing them on. It knows no database and no surface."""
