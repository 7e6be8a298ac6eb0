"""The HTTP dialects, a folder each, and here what they share. They validate, call a service and shape the response."""
