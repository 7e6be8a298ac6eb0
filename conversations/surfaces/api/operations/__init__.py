"""OpenAPI descriptions of this surface, as one decorator per operation. They import no service."""
