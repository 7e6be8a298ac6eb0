"""Restore history from our own files. `foreign` reads those of other applications, and stores them the same way."""
