"""The service with deadlines that a test can wait for: `gunicorn tests.streams.impatient`."""

from chatapi.incoming import request_bodies
from chatapi.incoming import response_deadlines as answers

request_bodies.BODY_DEADLINE_S = 0.5
answers.FILE_LIMIT_S = 0.5
answers.RESPONSE_LIMIT_S = 0.5
answers.SLOWEST_READER_BYTES_PER_S = 10**9

from chatapi.wsgi import application  # noqa: E402, F401  # what gunicorn serves
