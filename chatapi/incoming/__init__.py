"""What happens to a request before its view, and to its response behind it: paths, client addresses, admission, bodies, and
deadlines of clients. Nothing here knows what a view does.
"""
