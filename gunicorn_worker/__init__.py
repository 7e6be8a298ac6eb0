"""The server: gunicorn's worker on gevent. Only this package and gunicorn.conf.py know gevent.

Like gunicorn.conf.py, it must not import anything that imports psycopg.
"""
