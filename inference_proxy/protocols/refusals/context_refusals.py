"""How inference services say that a request is longer than the model's context.

Each words it differently. Some say it with a 500, and some in the stream of a 200.
"""

import re

from inference_proxy.protocols.refusals.error_reports import ErrorReport

# Other statuses are about the caller, the model or the time, whatever else their answer mentions.
STATUSES = (400, 413, 422, 500)
# Its whole meaning is that the request is too large, for the model or for a gateway before it.
TOO_LARGE = 413
CODES = re.compile(
    r"context.?length.?exceeded|context.?window.?exceeded|exceed.?context.?size|context.?(?:size|limit).?exceeded"
    r"|(?:context|prompt|input).?too.?(?:long|large)|request.?too.?large|tokens.?limit.?reached|prompt.?tokens.?exceeded",
    re.IGNORECASE,
)
# About any text of the request: it counts where that is a message.
STRING_TOO_LONG = re.compile(r"string.?(?:above.?max.?length|too.?long)", re.IGNORECASE)
MESSAGE_PARAM = re.compile(r"(?:messages|input|prompt|content|$)")
CONTEXT = r"context[ _-]?(?:length|size|window|limit)"
SENTENCES = re.compile(
    # OpenAI, vLLM, SGLang, llama.cpp, Ollama, Mistral, LM Studio
    r"(?:max(?:imum)?(?! value)|exceed\w*|longer|larger|greater|beyond|overflow\w*|over|available|only|reached)\b"
    rf".{{0,80}}{CONTEXT}"
    rf"|{CONTEXT}.{{0,40}}(?:exceed|overflow|too small|reached|is only|of only|, you requested)|context the overflows"
    r"|context overflow|ContextWindowExceeded|conversation length exceeded|^token limit\b|token limit exceeded"
    # TGI
    r"|(?:inputs?|tokens)`? (?:tokens )?\+ `?max_(?:new_)?tokens`? must be|inputs?`? (?:must have|tokens must be) less than"
    # vLLM, ExLlama
    r"|max_model_len|max_seq_len|max_total_tokens|max_position_embeddings|maximum model length"
    # vLLM, where the prompt leaves no room for a reply
    r"|max_(?:completion_)?tokens must be at least 1, got -\d"
    # xAI, TensorRT, DashScope, Cohere, Bedrock, GitHub
    r"|max(?:imum)?(?: allowed)?[ _](?:prompt|input)[ _](?:length|tokens|characters)|range of input length"
    r"|too many (?:input |prompt )?tokens|expected maxLength: \d+, actual|input exceeds what|tokens exceeded in prompt"
    r"|number of tokens \(prompt \+ completion\) exceeds"
    r"|body too large for .{0,80}tokens"
    r"|reduce (?:the |your )?(?:length of )?(?:the |your )?(?:messages|prompt|input|conversation)"
    r"|(?:prompt|token|输入|上下文|对话历史|字数|长度).{0,10}(?:超长|过长|超过|超出|超限|太多)",
    re.IGNORECASE | re.DOTALL,
)
# Not where the sentence is about max_tokens: its value may be too large, too.
TOO_LONG = re.compile(
    r"\b(?:prompt|inputs?|messages?|conversation|request|query|history)\b.{0,60}"
    r"(?:\btoo (?:long|large)|(?:exceed\w*|(?:longer|greater|larger|more) than)\b.{0,60}(?:token|length|limit|maximum))",
    re.IGNORECASE | re.DOTALL,
)
MAX_TOKENS = re.compile(
    r"max_(?:completion_|new_|output_)?tokens|max(?:Output)?Tokens\b|(?:for|in) the completion|maximum tokens you",
    re.IGNORECASE,
)

# Not `128k`.
NUMBER = r"(\d[\d,]*)(?![\d,.]*\d|[km])"
# Where services name the model's limit and the length of what was sent, the most certain form first.
LIMITS = (
    rf"> {NUMBER}",
    rf"must be <= {NUMBER}",
    rf"(?:exceeds? the limit of|cannot exceed|only supports up to|while limit is|configured limit of) {NUMBER}",
    rf"max input tokens: {NUMBER}",
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
    rf"token count(?: of| is|:) {NUMBER}",
    rf"current length is {NUMBER}",
    rf"received {NUMBER}",
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
    rf"{NUMBER} > \d",
)


def says_too_long(status: int, error: ErrorReport) -> bool:
    """Return whether this answer refuses a request because it is longer than the model's context."""
    if status not in STATUSES:
        return False
    return status == TOO_LARGE or error_says_too_long(error)


def error_says_too_long(error: ErrorReport) -> bool:
    if any(CODES.search(word) for word in error.words) or error.says(SENTENCES):
        return True
    if any(STRING_TOO_LONG.search(word) for word in error.words):
        return MESSAGE_PARAM.match(error.param) is not None
    return error.says(TOO_LONG) and not error.says(MAX_TOKENS)


def names_max_tokens(error: ErrorReport) -> bool:
    """Return whether the answer also names what was kept free for the reply."""
    return error.says(MAX_TOKENS)


def named_tokens(error: ErrorReport) -> tuple[int, int] | None:
    """Return the model's limit and the length of the prompt, in tokens, where the answer names both."""
    limit = error.numbers.get("n_ctx") or _first_number(LIMITS, error.text)
    length = error.numbers.get("n_prompt_tokens") or _first_number(LENGTHS, error.text)
    return (limit, length) if limit and length else None


def _first_number(patterns: tuple[str, ...], text: str) -> int:
    found = next((match for pattern in patterns if (match := re.search(pattern, text, re.IGNORECASE))), None)
    digits = found[1].replace(",", "") if found else ""
    return int(digits) if 0 < len(digits) < 10 else 0
