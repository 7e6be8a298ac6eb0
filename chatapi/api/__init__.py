"""What all views of the API share: base classes, errors, JSON, the OpenAPI description. Not what one surface needs."""
