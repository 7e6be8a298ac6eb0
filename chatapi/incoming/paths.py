"""Which paths are answered: with or without a slash at the end, and for probes under any host name."""

from django.conf import settings
from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware

from chatapi.incoming.routes import is_probe

# Their owners decide about slashes.
KEPT = (settings.ADMIN_PATH, settings.STATIC_URL)


class PathMiddleware(CommonMiddleware):
    """Check the host name as Django does, and answer a path with a slash at its end like one without, without a redirect.

    A redirect would lose the body of a POST.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        path = request.path_info
        if len(path) > 1 and path.endswith("/") and not path.startswith(KEPT):
            request.path_info = path = path[:-1]
        # Kubernetes and load balancers call a server by its IP address, which no list of names can hold.
        return None if is_probe(path) else super().process_request(request)
