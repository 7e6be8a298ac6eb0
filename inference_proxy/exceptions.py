"""What can go wrong with the inference service, as a client may hear of it."""

import ssl

import requests
import urllib3.exceptions

from chatapi.problem import Problem


class UpstreamFailure(Problem):
    """The inference service failed; the code goes to the client and, as `error_code`, onto the reply."""

    code = "upstream_error"
    status = 502
    detail = "The model failed while it was answering."


class UpstreamError(UpstreamFailure):
    """It answered with an error, broke off, or said something that is not of its protocol."""


class UpstreamUnavailable(UpstreamFailure):
    code = "upstream_unavailable"
    status = 503
    detail = "The model can't be reached right now. Try again in a moment."


class UpstreamTimeout(UpstreamFailure):
    code = "upstream_timeout"
    status = 504
    detail = "The model took too long to answer."


class NotSaved(UpstreamFailure):
    code = "not_saved"
    status = 503
    detail = "The reply could not be saved. What was shown may be incomplete when you come back."


class NotSupported(Problem):
    code = "not_supported"
    status = 501
    detail = "This inference service can't do that."


class UnknownModel(Problem):
    code = "invalid"
    status = 400
    detail = "The inference service does not know this model; GET /api/models lists those that it has."


class StoreUnavailable(Exception):
    """The store of replies can't be reached right now; the same call may succeed later."""


FAILURES: dict[str, type[UpstreamFailure]] = {
    kind.code: kind for kind in (UpstreamError, UpstreamUnavailable, UpstreamTimeout, NotSaved)
}


def failure_of_status(status: int) -> UpstreamFailure:
    """Map a refusal of the inference service; 200 is not a refusal and redirects are not followed."""
    if status in (429, 503):
        return UpstreamUnavailable()
    if status in (408, 504):
        return UpstreamTimeout()
    return UpstreamError()


def failure_of_exception(exc: Exception) -> UpstreamFailure:
    """Map what requests or urllib3 raised while connecting, waiting or reading."""
    # NewConnectionError first: urllib3 derives it from its ConnectTimeoutError, but it is a refusal.
    if isinstance(exc, urllib3.exceptions.NewConnectionError):
        return UpstreamUnavailable()
    # A certificate that is not accepted; other failures of TLS may come in the middle of an answer.
    if isinstance(exc, urllib3.exceptions.SSLError) and isinstance(exc.args[0], ssl.SSLCertVerificationError):
        return UpstreamUnavailable()
    if isinstance(exc, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return UpstreamTimeout()
    # requests wraps; "connection aborted" means that there was one: the service took the request and went away.
    was_connected = bool(exc.args) and isinstance(exc.args[0], urllib3.exceptions.ProtocolError)
    if isinstance(exc, requests.ConnectionError) and not was_connected:
        return UpstreamUnavailable()
    return UpstreamError()
