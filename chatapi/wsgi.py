"""The WSGI application, and with it this process's share of looking after running replies."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatapi.settings")

from django.conf import settings
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries

from chatapi.database.pools import sample_pools
from chatapi.database.replica import watch_replica
from chatapi.incoming.admission import Admission
from chatapi.incoming.request_bodies import WholeBodies
from chatapi.incoming.response_deadlines import TimelyAnswers
from chatapi.observability.exporters import start_exporters
from chatapi.observability.metrics_page import MetricsPage
from chatapi.observability.sampling import start_sampling

admission = Admission(get_wsgi_application())
application = TimelyAnswers(WholeBodies(MetricsPage(admission)))

# What Django also does around each request, for which nothing is left to do: requests give their connections back at their end
# (`ReleaseConnectionsMiddleware`), the caches have nothing to close, all requests have the same URL configuration, and Django
# notes its queries only with DEBUG.
request_started.disconnect(close_old_connections)
request_finished.disconnect(close_caches)
request_finished.disconnect(reset_urlconf)
if not settings.DEBUG:
    request_started.disconnect(reset_queries)

import chatapi.urls  # noqa: E402, F401  # otherwise the first request would wait until all views are loaded
from conversations.services.replies.figures import sample_replies  # noqa: E402  # as below
from conversations.services.replies.store import live_replies  # noqa: E402  # needs the applications to be loaded

# From the start, not from the first reply on: a worker that took another's place marks what that one left behind.
live_replies.keep()

watch_replica()

if settings.ARE_METRICS_SERVED:
    start_sampling(admission.sample, sample_pools, sample_replies)

start_exporters()
