"""A receiver, and the settings that name it."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from conversations.services.webhooks.outbox import Outbox
from tests.support.receiver import Receiver, running_receiver

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes for us").decode()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with running_receiver() as running:
        settings.WEBHOOK_ALLOW_PRIVATE = True
        settings.WEBHOOK_URL = running.url
        settings.WEBHOOK_SECRETS = [SECRET]
        yield running


@pytest.fixture
def noted(db: None) -> None:
    """Have events noted."""
    Outbox().keep()
