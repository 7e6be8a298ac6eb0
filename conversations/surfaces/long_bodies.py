"""Parse long bodies without building what is ignored.

Principle: a value of JSON takes many times its size as an object: 8 MiB of `{},` are 2.8 million of them. A long body is long
because of the history that clients send along, which the service stores itself. So only the fields that are read become
objects, and of those none may be longer than an ordinary body, unless it is one string.
"""

from typing import Any

import msgspec
import orjson
from django.conf import settings

from chatapi.api.wire import StrictJSONParser
from chatapi.incoming.request_bodies import PayloadTooLarge


def raw_fields(*names: str) -> type[msgspec.Struct]:
    """Return the type of an object of which only these fields are read, each when it is needed."""
    fields = [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in dict.fromkeys(names)]
    return msgspec.defstruct("Fields", fields, gc=False)


class LongBodyParser(StrictJSONParser):
    """The fields of `fields` are raw; all others are skipped."""

    fields: type[msgspec.Struct]

    def parse_long(self, body: bytes) -> Any:
        try:
            found = msgspec.json.decode(body, type=self.fields)
        except msgspec.ValidationError:
            # Well-formed so far, but not an object. It gets the same answer as a short body of this kind.
            return None
        return {
            name: self.read_field(name, raw)
            for name in self.fields.__struct_fields__
            if (raw := getattr(found, name)) is not msgspec.UNSET
        }

    def read_field(self, name: str, raw: Any) -> Any:
        written = memoryview(raw)
        if len(written) > settings.ORDINARY_BODY and written[0] != ord('"'):
            raise PayloadTooLarge
        return orjson.loads(written)
