"""Chat templates as strict as those of Mistral and Gemma, to check what goes to an inference service.

Servers such as vLLM and llama.cpp render each request with the Jinja template of the model, and refuse the request if the
template raises. These templates raise where Mistral's and Gemma's do: on a role out of turn, and on an answer without text.
"""

from typing import Any, NoReturn

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

# A system message goes before everything.
MISTRAL = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set prompt = messages[0]['content'] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set prompt = '' %}
    {%- set turns = messages %}
{%- endif %}
{%- for turn in turns %}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
{%- endfor %}
{{- '<s>' }}
{%- if prompt %}
    {{- '[SYSTEM_PROMPT]' + prompt + '[/SYSTEM_PROMPT]' }}
{%- endif %}
{%- for turn in turns %}
    {%- if turn['role'] == 'user' %}
        {{- '[INST]' + turn['content'] + '[/INST]' }}
    {%- elif turn['role'] == 'assistant' %}
        {%- if not turn['content'] %}
            {{- raise_exception('An assistant message must have text or tool calls.') }}
        {%- endif %}
        {{- turn['content'] + '</s>' }}
    {%- else %}
        {{- raise_exception('Only user, assistant and an initial system message are supported.') }}
    {%- endif %}
{%- endfor %}
"""

# A system message becomes the beginning of the first user message.
GEMMA = """\
{{- '<bos>' }}
{%- if messages[0]['role'] == 'system' %}
    {%- set prompt = messages[0]['content'] + '\\n\\n' %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set prompt = '' %}
    {%- set turns = messages %}
{%- endif %}
{%- for turn in turns %}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {{- '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else turn['role']) + '\\n' }}
    {{- (prompt if loop.first else '') + turn['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<start_of_turn>model\\n' }}
{%- endif %}
"""

TEMPLATES = {"mistral": MISTRAL, "gemma": GEMMA}


def render(template: str, messages: list[dict[str, Any]]) -> str:
    """Render the messages as inference servers do. Raise TemplateError where the template refuses them."""
    environment = ImmutableSandboxedEnvironment()
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, raise_exception=raise_exception
    )


def raise_exception(why: str) -> NoReturn:
    raise TemplateError(why)
