"""What `make run` and the tests need beside the service; nothing in here is part of the service."""
