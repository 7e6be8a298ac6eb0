"""Split a leading `<think>…</think>` off a reply's text: many servers send a model's reasoning so."""

OPENING, CLOSING = "<think>", "</think>"
# White space before the opening tag, at most. More of it is text.
LONGEST_LEAD = 64


class ThinkTags:
    """Split the text of one reply, as it comes, into reasoning and text. Tags may be cut anywhere.

    White space around the tags belongs to neither, except before the closing tag. A tag that comes later is text.
    """

    def __init__(self) -> None:
        # Set when all that follows is text.
        self.is_over = False
        self._held = ""
        self._is_open = False
        self._has_reasoning = False
        self._is_closed = False

    def split(self, piece: str) -> tuple[str, str]:
        """Return the reasoning and the text of the next piece, with what was held back of the one before."""
        rest, self._held = self._held + piece, ""
        if not self._is_open and not self.is_over:
            rest = self._open(rest)
        if self._is_open and not self._is_closed:
            return self._reason(rest)
        return "", self._text(rest)

    def flush(self) -> tuple[str, str]:
        """Return what is held back when the reply has ended."""
        rest, self._held = self._held, ""
        return (rest, "") if self._is_open else ("", rest)

    def _open(self, rest: str) -> str:
        """Look for the opening tag; return what follows it, or all if there is none. Hold back what may become one."""
        begin = rest.lstrip()
        if len(rest) - len(begin) <= LONGEST_LEAD:
            if begin.startswith(OPENING):
                self._is_open = True
                return begin[len(OPENING) :]
            if OPENING.startswith(begin):
                self._held = rest
                return ""
        self.is_over = True
        return rest

    def _reason(self, rest: str) -> tuple[str, str]:
        reasoning, tag, text = rest.partition(CLOSING)
        if tag:
            self._is_closed = True
        else:
            self._held = _beginning_of_tag(rest)
            reasoning = rest.removesuffix(self._held)
        if not self._has_reasoning:
            reasoning = reasoning.lstrip()
            self._has_reasoning = bool(reasoning)
        return reasoning, self._text(text)

    def _text(self, rest: str) -> str:
        if self.is_over:
            return rest
        text = rest.lstrip()
        self.is_over = bool(text)
        return text


def _beginning_of_tag(text: str) -> str:
    """Return the end of a text that may be the beginning of the closing tag."""
    place = text.rfind("<", -len(CLOSING) + 1)
    return text[place:] if place >= 0 and CLOSING.startswith(text[place:]) else ""
