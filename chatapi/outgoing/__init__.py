"""Calls to other services: connections, deadlines, small JSON answers. Not what is asked for."""
