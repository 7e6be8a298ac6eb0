"""Parse long bodies with a whole history, without building what is ignored: see `surfaces.long_bodies`."""

from typing import Any

import msgspec

from chatapi.incoming.request_bodies import PayloadTooLarge
from conversations.surfaces.long_bodies import LongBodyParser, raw_fields
from conversations.surfaces.openai.requests import MOST_KNOWN_ITEMS
from conversations.surfaces.request_fields import RefusingBody

MOST_BRACES = 100_000
# What a message says, and what makes it unsupported.
MESSAGE_FIELDS = (
    *("role", "type", "content", "tool_calls", "tool_call_id", "function_call", "audio"),
    *("call_id", "name", "arguments", "output"),
)


class LongMessage(msgspec.Struct, gc=False):
    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    role: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tool_calls: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tool_call_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    function_call: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    audio: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    call_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class HistoryParser(LongBodyParser):
    """Read the messages of the field `history` one by one."""

    def __init__(self, body: type[RefusingBody], history: str) -> None:
        self.fields = raw_fields(*body.__struct_encode_fields__, *body.unsupported)
        self._history = history

    def read_field(self, name: str, raw: Any) -> Any:
        written = memoryview(raw)
        if name != self._history or written[0] != ord("["):
            return super().read_field(name, raw)
        # Before the messages become objects. Texts have braces, too.
        if bytes(written).count(b"{") > MOST_BRACES:
            raise PayloadTooLarge
        try:
            messages = msgspec.json.decode(raw, type=list[LongMessage])
        except msgspec.ValidationError:
            return None
        # Too many are refused by their number.
        return [self._read_message(message) if len(messages) <= MOST_KNOWN_ITEMS else None for message in messages]

    def _read_message(self, message: LongMessage) -> dict[str, Any]:
        given = {name: getattr(message, name) for name in MESSAGE_FIELDS}
        return {name: LongBodyParser.read_field(self, name, part) for name, part in given.items() if part is not msgspec.UNSET}
