"""Calls to other services: names, connections, deadlines, small JSON answers. Not what is asked for."""
