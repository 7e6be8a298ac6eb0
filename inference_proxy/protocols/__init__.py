"""The inference protocols, by the name that INFERENCE_PROTOCOL gives them. A new one is a new file and a line here."""

from django.conf import settings

from inference_proxy.protocols.base import InferenceProtocol
from inference_proxy.protocols.nanochat import Nanochat
from inference_proxy.protocols.openai import OpenAI

PROTOCOLS: dict[str, type[InferenceProtocol]] = {
    "nanochat": Nanochat,
    "openai": OpenAI,
}


def new_protocol() -> InferenceProtocol:
    """Return the configured protocol, fresh for one generation."""
    return PROTOCOLS[settings.INFERENCE_PROTOCOL]()
