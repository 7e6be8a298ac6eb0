"""The WSGI application, and with it this process's share of looking after running replies."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatapi.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from chatapi.admission import Admission
from chatapi.answers import TimelyAnswers
from chatapi.database import sample_pools
from chatapi.observability.exporters import start_exporters
from chatapi.observability.metrics_page import MetricsPage
from chatapi.observability.sampling import start_sampling
from chatapi.request_bodies import WholeBodies

admission = Admission(get_wsgi_application())
application = TimelyAnswers(WholeBodies(MetricsPage(admission)))

from conversations.services.turns.figures import sample_replies  # noqa: E402  # as below
from conversations.services.turns.replies import live_replies  # noqa: E402  # needs the applications to be loaded

# From the start, not from the first reply on: a worker that took another's place marks what that one left behind.
live_replies.keep()

if settings.ARE_METRICS_SERVED:
    start_sampling(admission.sample, sample_pools, sample_replies)

start_exporters()
