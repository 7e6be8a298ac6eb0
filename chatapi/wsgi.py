"""The WSGI application, and with it this process's share of looking after running replies."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatapi.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from chatapi.database.pools import sample_pools
from chatapi.database.replica import watch_replica
from chatapi.incoming.admission import Admission
from chatapi.incoming.request_bodies import WholeBodies
from chatapi.incoming.response_deadlines import TimelyResponses
from chatapi.observability.exporters import start_exporters
from chatapi.observability.metrics_page import MetricsPage
from chatapi.observability.sampling import start_sampling

admission = Admission(get_wsgi_application())
application = TimelyResponses(WholeBodies(MetricsPage(admission)))

import chatapi.urls  # noqa: E402, F401  # otherwise the first request would wait until all views are loaded
from conversations.services.replies.figures import sample_replies  # noqa: E402  # as below
from conversations.services.replies.store import live_replies  # noqa: E402  # needs the applications to be loaded

# From the start, not from the first reply on: a worker that took another's place marks what that one left behind.
live_replies.keep()

watch_replica()

if settings.ARE_METRICS_SERVED:
    start_sampling(admission.sample, sample_pools, sample_replies)

start_exporters()
