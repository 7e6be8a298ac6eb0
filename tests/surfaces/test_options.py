"""OPTIONS, which some proxies and monitors send to any address"""

import pytest
from django.test import Client

ADDRESSES = [
    "/api/docs",
    "/api/schema",
    "/api/health",
    "/api/conversations",
    "/api/search",
    "/health",
    "/conversation",
    "/admin/",
]


@pytest.mark.django_db
@pytest.mark.parametrize("address", ADDRESSES)
def test_options_is_never_an_error_of_ours(address: str) -> None:
    client = Client(raise_request_exception=False)
    assert client.options(address).status_code < 500
