"""The views of the primary surface, one file per resource. Reading is in `queries`, writing in the services."""
