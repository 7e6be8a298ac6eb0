"""Which failure an error of the inference service is, by its status and by what it says."""

from inference_proxy.exceptions import (
    ContentRefused,
    ContextTooLong,
    ModelGone,
    UpstreamError,
    UpstreamFailure,
    UpstreamRefused,
    ValueRefused,
)
from inference_proxy.protocols.compatibility import read_refusal
from inference_proxy.protocols.refusals.content_refusals import is_about_content
from inference_proxy.protocols.refusals.context_refusals import (
    error_says_too_long,
    named_tokens,
    names_max_tokens,
    says_too_long,
)
from inference_proxy.protocols.refusals.error_reports import ErrorReport, read_error
from inference_proxy.protocols.refusals.model_refusals import is_about_model
from inference_proxy.protocols.refusals.service_troubles import is_about_account, trouble_of_event, trouble_of_response
from inference_proxy.protocols.refusals.value_refusals import describe_bounds, refused_field


def failure_of_response(status: int, answer: bytes) -> UpstreamFailure:
    """Return the failure that an answer with another status than success means. `answer` may be the beginning of a long one."""
    error = read_error(answer)
    failure: UpstreamFailure
    if is_about_account(status, error):
        failure = UpstreamRefused()
    elif says_too_long(status, error):
        failure = _too_long(error)
    elif is_about_content(status, error):
        failure = ContentRefused()
    elif is_about_model(status, error):
        failure = ModelGone()
    elif field := refused_field(status, error):
        failure = ValueRefused.of(field, describe_bounds(error))
    else:
        failure = trouble_of_response(status, error)
    failure.refusal = read_refusal(status, answer)
    return failure


def failure_of_event(event: bytes) -> UpstreamFailure:
    """Return the failure that an event of a stream means which is no part of a reply."""
    if not event.lstrip().startswith(b"{"):
        return UpstreamError()
    error = read_error(event)
    failure: UpstreamFailure = _too_long(error) if error_says_too_long(error) else trouble_of_event(error)
    failure.refusal = read_refusal(None, event)
    return failure


def _too_long(error: ErrorReport) -> ContextTooLong:
    failure = ContextTooLong()
    failure.named_tokens = named_tokens(error)
    failure.names_max_tokens = names_max_tokens(error)
    return failure
