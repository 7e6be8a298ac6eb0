"""The completion surface: /conversation, one request for a question and its reply."""
