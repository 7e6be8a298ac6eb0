"""How inference services say that a request is longer than the model's context.

Each words it differently. Some say it with a 500, and some in the stream of a 200.
"""

import re

from inference_proxy.protocols.error_reports import ErrorReport

# Other statuses are about the caller, the model or the time, whatever else their answer mentions.
STATUSES = (400, 413, 422, 500)
# Its whole meaning is that the request is too large, for the model or for a gateway before it.
TOO_LARGE = 413
CODES = re.compile(
    r"context.?length.?exceeded|context.?window.?exceeded|exceed.?context.?size|context.?(?:size|limit).?exceeded"
    r"|(?:context|prompt|input).?too.?(?:long|large)|request.?too.?large|tokens.?limit.?reached|string.?above.?max.?length",
    re.IGNORECASE,
)
CONTEXT = r"context[ _-]?(?:length|size|window|limit)"
SENTENCES = re.compile(
    # OpenAI, vLLM, SGLang, llama.cpp, Ollama, Mistral, LM Studio
    rf"(?:max(?:imum)?|exceed\w*|longer|larger|greater|beyond|overflow\w*|over|available|only)\b.{{0,80}}{CONTEXT}"
    rf"|{CONTEXT}.{{0,40}}(?:exceed|overflow|too small|reached|is only|of only)|context the overflows|ContextWindowExceeded"
    # TGI
    r"|inputs?`? (?:tokens )?\+ `?max_(?:new_)?tokens`? must be|inputs?`? must have less than"
    # vLLM, ExLlama
    r"|max_model_len|max_seq_len|maximum model length"
    # xAI, TensorRT, DashScope, Cohere, Bedrock, GitHub
    r"|max(?:imum)?[ _](?:prompt|input)[ _](?:length|tokens)|range of input length|too many (?:input |prompt )?tokens"
    r"|body too large for .{0,80}tokens"
    r"|reduce (?:the |your )?(?:length of )?(?:the |your )?(?:messages|prompt|input|conversation)"
    r"|(?:prompt|输入|上下文).{0,10}(?:超长|过长|超过|超出)",
    re.IGNORECASE | re.DOTALL,
)
# Not where the sentence is about max_tokens: its value may be too large, too.
TOO_LONG = re.compile(
    r"\b(?:prompt|inputs?|messages?|conversation|request|query|history)\b.{0,60}"
    r"(?:\btoo (?:long|large)|(?:exceed\w*|(?:longer|greater|larger|more) than)\b.{0,60}(?:token|length|limit|maximum))",
    re.IGNORECASE | re.DOTALL,
)
MAX_TOKENS = re.compile(r"max_(?:completion_|new_|output_)?tokens|(?:for|in) the completion", re.IGNORECASE)

NUMBER = r"(\d[\d,]*)"
# Where services name the model's limit and the length of what was sent, the most certain form first.
LIMITS = (
    rf"> {NUMBER}",
    rf"must be <= {NUMBER}",
    rf"less than {NUMBER} tokens",
    rf"{NUMBER} maximum context",
    rf"{CONTEXT}\w*(?: is| of|:)?(?: only)? ?\(?{NUMBER}",
    rf"maximum (?:model|prompt|input) length (?:of|is) {NUMBER}",
    rf"(?:allowed|allowed length|max_seq_len|limit:?|max size:) \(?{NUMBER}",
)
LENGTHS = (
    rf"{NUMBER} in (?:your|the) (?:prompt|messages|input)",
    rf"{NUMBER} (?:input tokens|tokens from the input)",
    rf"(?:has|contains) {NUMBER}(?: prompt)? tokens",
    rf"resulted in {NUMBER}",
    rf"limit: {NUMBER} \+",
    rf"too long: {NUMBER}",
    rf"(?:input|request) \({NUMBER} tokens",
    rf"input length \({NUMBER} tokens",
    rf"count \({NUMBER}",
    rf"length:? {NUMBER}\)? is (?:longer|greater)",
    rf"\(length {NUMBER}\)",
    rf"given: {NUMBER}",
    rf"requested (?:tokens \()?(?:about )?{NUMBER}",
)


def says_too_long(status: int, error: ErrorReport) -> bool:
    """Return whether this answer refuses a request because it is longer than the model's context."""
    if status not in STATUSES:
        return False
    return status == TOO_LARGE or error_says_too_long(error)


def error_says_too_long(error: ErrorReport) -> bool:
    if any(CODES.search(word) for word in error.words) or SENTENCES.search(error.text):
        return True
    return TOO_LONG.search(error.text) is not None and MAX_TOKENS.search(error.text) is None


def names_max_tokens(error: ErrorReport) -> bool:
    """Return whether the answer also names what was kept free for the reply."""
    return MAX_TOKENS.search(error.text) is not None


def named_tokens(error: ErrorReport) -> tuple[int, int] | None:
    """Return the model's limit and the length of the prompt, in tokens, where the answer names both."""
    limit = error.numbers.get("n_ctx") or _first_number(LIMITS, error.text)
    length = error.numbers.get("n_prompt_tokens") or _first_number(LENGTHS, error.text)
    return (limit, length) if limit and length else None


def _first_number(patterns: tuple[str, ...], text: str) -> int:
    found = next((match for pattern in patterns if (match := re.search(pattern, text, re.IGNORECASE))), None)
    digits = found[1].replace(",", "") if found else ""
    return int(digits) if 0 < len(digits) < 10 else 0
