"""What `make run` and the tests need beside the service. The service itself uses none of it."""
