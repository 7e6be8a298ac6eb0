"""The WSGI application, and with it this process's share of looking after running replies."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatapi.settings")

from django.core.wsgi import get_wsgi_application

from chatapi.admission import Admission
from chatapi.answers import TimelyAnswers
from chatapi.request_bodies import WholeBodies

application = TimelyAnswers(WholeBodies(Admission(get_wsgi_application())))

from conversations.services.turns.replies import live_replies  # noqa: E402  # needs the applications to be loaded

# From the start, not from the first reply on: a worker that took another's place marks what that one left behind.
live_replies.keep()
