"""Calls to other services: names, connections, deadlines, small JSON responses. Not what is asked for."""
