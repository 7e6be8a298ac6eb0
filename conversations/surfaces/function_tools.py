"""Function tools that a request offers, in the forms that clients write, and the calls and outputs that it brings."""

import re
from typing import Annotated, Any

from msgspec import Meta
from rest_framework.exceptions import ValidationError

from conversations.surfaces.sampling_fields import OpenAIFieldsBody, check_size, takes_tools
from inference_proxy.protocols.tool_calls import MOST_CALLS, MOST_CHARACTERS, ToolCall

TOOL_FIELDS = ("tools", "tool_choice")
MOST_TOOLS = 128
# All tools of a request together, as JSON.
MOST_BYTES = 64 * 1024
LONGEST_OUTPUT = 64 * 1024
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LONGEST_ID = 100
WORDS = ("auto", "none", "required")
FUNCTION_FIELDS = ("name", "description", "parameters", "strict")

_TOOL = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["function"]},
        "name": {"type": "string"},
        "parameters": {"type": "object"},
        "function": {"type": "object"},
    },
    "required": ["type"],
}


def _read_tools(given: Any) -> list[dict[str, Any]] | None:
    if not isinstance(given, list):
        raise ValidationError("Must be a list of tools.")
    if not given:
        return None
    if not takes_tools():
        raise ValidationError("The inference service takes no tools.")
    if len(given) > MOST_TOOLS:
        raise ValidationError(f"Must have at most {MOST_TOOLS} tools.")
    check_size(given, MOST_BYTES)
    return [{"type": "function", "function": _read_function(tool)} for tool in given]


def _read_named_tools(given: Any) -> list[dict[str, Any]] | None:
    """Read a list of tools, or an object whose keys are their names, as front-ends write it.

    Front-ends add fields of their own to a body, so a value that is not a tool is ignored.
    Tools are ignored too if the protocol takes none.
    """
    tools = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    if not takes_tools() or not all(isinstance(tool, dict) for tool in tools):
        return None
    if isinstance(given, dict):
        given = [{**tool, "type": "function", "name": name} for name, tool in given.items()]
    return _read_tools([_with_parameters(tool) for tool in given]) if tools else None


def _with_parameters(tool: dict[str, Any]) -> dict[str, Any]:
    # The AI SDK's own name for them, and what its `jsonSchema` makes of a schema.
    given = tool.get("inputSchema") if "parameters" not in tool else None
    if not isinstance(given, dict):
        return tool
    return {**tool, "parameters": given["jsonSchema"] if set(given) == {"jsonSchema"} else given}


def _read_tool_choice(given: Any) -> Any:
    if isinstance(given, str) and given in WORDS:
        return given
    if isinstance(given, dict) and given.get("type") == "function":
        function = given.get("function", given)
        name = function.get("name") if isinstance(function, dict) else None
        return {"type": "function", "function": {"name": _read_name(name)}}
    raise ValidationError(f"Must be one of {', '.join(WORDS)}, or name a function.")


# Functions that the client runs. A response names them in the tool, a chat completion in its `function`. The value is that of a
# chat completion. The inference service checks the parameters of a function.
Tools = Annotated[
    list[dict[str, Any]],
    Meta(extra_json_schema={"type": "array", "items": _TOOL, "maxItems": MOST_TOOLS}, extra={"read": _read_tools}),
]
# The same, or an object whose keys are the names of the tools.
NamedTools = Annotated[
    list[dict[str, Any]],
    Meta(
        extra_json_schema={
            "oneOf": [
                {"type": "array", "items": _TOOL, "maxItems": MOST_TOOLS},
                {"type": "object", "additionalProperties": {"type": "object"}},
            ]
        },
        extra={"read": _read_named_tools},
    ),
]
# Whether the model calls a tool: a word, or the function that it must call.
ToolChoice = Annotated[
    str | dict[str, Any],
    Meta(
        extra_json_schema={"oneOf": [{"type": "string", "enum": list(WORDS)}, {"type": "object"}]},
        extra={"read": _read_tool_choice},
    ),
]


class ToolsBody(OpenAIFieldsBody):
    # A body that may offer tools.

    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None

    def check(self) -> None:
        if not self.tools and self.tool_choice not in (None, "auto", "none"):
            raise ValidationError({"tool_choice": ["There are no tools to choose from."]})

    def offered(self) -> dict[str, Any] | None:
        """Return what the body offers, for `Sampling.tools`; None without tools."""
        return offered_tools(self.tools, self.tool_choice, self.parallel_tool_calls)


def offered_tools(
    tools: list[dict[str, Any]] | None, choice: Any = None, parallel: bool | None = None
) -> dict[str, Any] | None:
    """Return what a request offers, for `Sampling.tools`; None without tools."""
    if not tools:
        return None
    named = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}
    return {name: value for name, value in named.items() if value is not None}


def response_tools(stored: Any) -> dict[str, Any]:
    """Return the fields of a response that say which tools it was offered. An imported archive may bring anything."""
    found = stored if isinstance(stored, dict) else {}
    tools = found.get("tools") if isinstance(found.get("tools"), list) else []
    choice = found.get("tool_choice")
    if isinstance(choice, dict):
        choice = {"type": "function", "name": _function_of(choice).get("name")}
    nothing = {"description": None, "parameters": None, "strict": None}
    return {
        "tools": [{**nothing, **_function_of(tool), "type": "function"} for tool in tools or () if _function_of(tool)],
        "tool_choice": choice if isinstance(choice, str | dict) else "auto",
        "parallel_tool_calls": bool(tools) and found.get("parallel_tool_calls") is not False,
    }


def read_tool_calls(data: Any) -> tuple[ToolCall, ...]:
    """Read the `tool_calls` of an answer that a client brings."""
    if not isinstance(data, list) or len(data) > MOST_CALLS or not all(isinstance(call, dict) for call in data):
        raise ValidationError(f"The tool_calls of a message must be a list of at most {MOST_CALLS} calls.")
    return tuple(read_call(call.get("id"), call.get("function")) for call in data)


def read_call(call_id: Any, function: Any) -> ToolCall:
    """Read a call: its id, and an object with a name and arguments."""
    name, arguments = (function.get("name"), function.get("arguments")) if isinstance(function, dict) else (None, None)
    if not isinstance(arguments, str) or "\x00" in arguments or len(arguments) > MOST_CHARACTERS:
        raise ValidationError("A call must have a name and arguments, which are a text.")
    return ToolCall(read_call_id(call_id), _read_name(name), arguments)


def read_call_id(data: Any) -> str:
    if not isinstance(data, str) or not 0 < len(data) <= LONGEST_ID or not data.isprintable():
        raise ValidationError(f"The id of a call must have 1 to {LONGEST_ID} characters.")
    return data


def check_output(output: str) -> str:
    if len(output) > LONGEST_OUTPUT:
        raise ValidationError(f"An output must have at most {LONGEST_OUTPUT} characters.")
    return output


def _read_function(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise ValidationError("Only tools of the type function are supported.")
    function = tool.get("function", tool)
    if not isinstance(function, dict):
        raise ValidationError("The function of a tool must be an object.")
    _read_name(function.get("name"))
    return {name: function[name] for name in FUNCTION_FIELDS if function.get(name) is not None}


def _read_name(name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValidationError("The name of a function must have 1 to 64 ASCII letters, digits and . _ -")
    return name


def _function_of(tool: Any) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function if isinstance(function, dict) else {}
