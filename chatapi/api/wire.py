"""JSON in and out for every surface."""

import codecs
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from django.conf import settings
from django.http import HttpResponse
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from chatapi.database.timestamps import OutOfRangeTime
from chatapi.incoming.request_bodies import PayloadTooLarge, body_limit

MEDIA_TYPE = "application/json"


class StrictJSONParser(BaseParser):
    """Read a JSON body with any Content-Type, because the surfaces accept nothing else.

    orjson refuses NaN, lone surrogates and invalid UTF-8, so none of them gets past this point.
    """

    # Only for the OpenAPI description, because `AlwaysJSON` selects this parser for every type.
    media_type = MEDIA_TYPE

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        limit = body_limit(parser_context["request"].path)
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge
        try:
            # Editors and some clients on Windows put a byte order mark before UTF-8. RFC 8259 lets a reader ignore it.
            body = body.removeprefix(codecs.BOM_UTF8)
            return orjson.loads(body) if len(body) <= settings.ORDINARY_BODY else self.parse_long(body)
        except (orjson.JSONDecodeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ParseError("The request body is not valid JSON.", code="invalid") from None
        finally:
            del body
            # The memory and the places of the body (see `request_bodies`) are free now, not when the answer begins.
            parser_context["request"]._request.environ["wsgi.input"].close()

    def parse_long(self, body: bytes) -> Any:
        """Parse a body over ORDINARY_BODY. Views that ignore parts of long bodies override it."""
        return orjson.loads(body)


def _stand_in(value: Any) -> str | None:
    """Return what is written for a value that JSON lacks; a time that no client can read is unknown."""
    if isinstance(value, OutOfRangeTime):
        return None
    # For a safe string, `str` returns the string itself.
    return str.__str__(value) if isinstance(value, str) else str(value)


write_json = msgspec.json.Encoder(enc_hook=_stand_in).encode


class AlwaysJSON(BaseContentNegotiation):
    """Answer JSON to whatever a client accepts; replies choose their own form (see surfaces.reply_delivery)."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class Response(HttpResponse):
    """JSON, or nothing for None. The REST framework's own class is a template's, which takes three times as long."""

    def __init__(self, data: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(b"" if data is None else write_json(data), MEDIA_TYPE, status, headers=headers)
        if data is None:
            del self["Content-Type"]
