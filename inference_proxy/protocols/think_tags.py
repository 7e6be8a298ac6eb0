"""Split the thought at the beginning of a reply, such as `<think>…</think>`, off its text: many servers send it there."""

import re
from collections.abc import Mapping

# The tags of models, and what ends the thought. The first two are DeepSeek's and most others', the last ones gpt-oss's.
HARMONY_ENDS = (
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|start|>assistant<|channel|>final<|message|>",
    "<|channel|>final<|message|>",
)
PAIRS: dict[str, tuple[str, ...]] = {
    "<think>": ("</think>",),
    "<thinking>": ("</thinking>",),
    "<thought>": ("</thought>",),
    "<thoughts>": ("</thoughts>",),
    "<antThinking>": ("</antThinking>",),
    "<mm:think>": ("</mm:think>",),
    "<reasoning>": ("</reasoning>",),
    "<seed:think>": ("</seed:think>",),
    "[THINK]": ("[/THINK]",),
    "◁think▷": ("◁/think▷",),
    "<|START_THINKING|>": ("<|END_THINKING|>",),
    "<|begin_of_thought|>": ("<|end_of_thought|>",),
    "<|channel>thought\n": ("<channel|>",),
    "<|channel|>analysis<|message|>": HARMONY_ENDS,
    "<|start|>assistant<|channel|>analysis<|message|>": HARMONY_ENDS,
    # No thought, and only text follows.
    "<|channel|>final<|message|>": (),
    "<|start|>assistant<|channel|>final<|message|>": (),
}
# What may surround a tag in a text about tags.
QUOTES = "`\"'“”‘’«»()"
# White space before the opening tag, at most. More of it is text.
LONGEST_LEAD = 64
# What follows a tag in a sentence about the tag, and what may become that.
MENTION = re.compile(r"[,;)`]| (?:is|are|was|and|or|means|marks|tags?|opens|should)\b")
MAY_BE_MENTION = re.compile(r"(?: [a-z]{0,6})?")


class ThinkTags:
    """Split the text of one reply, as it comes, into reasoning and text. Tags may be cut anywhere.

    White space around the tags belongs to neither, except before the closing tag. A tag that comes later is text, and so is a
    closing tag alone, except on a line of its own at the beginning.
    `begins_inside` is for models whose template has the opening tag already, so that only the closing one comes. Where the
    service sends the reasoning beside the text, it has taken the tags out itself, and the text is text.
    """

    def __init__(self, *, begins_inside: bool = False, pairs: Mapping[str, tuple[str, ...]] = PAIRS) -> None:
        # Set when all that follows is text.
        self.is_over = False
        # Set if the service also sends reasoning beside the text. A closing tag may then come alone.
        self.has_channel = False
        self._begins_inside = begins_inside
        self._pairs = pairs
        self._known_closings = tuple(dict.fromkeys(closing for closings in pairs.values() for closing in closings))
        self._held = ""
        self._closings: tuple[str, ...] = ()
        self._is_open = False
        self._is_closed = False
        self._thought: list[str] = []

    def split(self, piece: str) -> tuple[str, str]:
        """Return the reasoning and the text of the next piece, with what was held back of the one before."""
        rest, self._held = self._held + piece, ""
        if not self._is_open and not self.is_over:
            rest = self._open(rest)
        if self._is_open and not self._is_closed:
            return self._reason(rest)
        return "", self._text(rest)

    def flush(self, *, is_whole: bool = False) -> tuple[str, str]:
        """Return what is held back when the reply has ended.

        If a whole reply never left its thought, the thought is also its text: otherwise it would have none.
        """
        rest, self._held = self._held, ""
        reasoning, text = "", ""
        if not self._is_open and rest:
            # An opening tag, and nothing that decides what it is.
            rest = self._open(rest, is_end=True)
        if not self._is_open:
            text = rest
        elif not self._is_closed:
            reasoning = self._note_thought(rest)
            text = "".join(self._thought).strip() if is_whole else ""
        self._thought.clear()
        return reasoning, text

    def _open(self, rest: str, *, is_end: bool = False) -> str:
        """Look for the opening tag; return what follows it, or all if there is none. Hold back what may become one."""
        begin = rest.lstrip()
        if len(rest) - len(begin) <= LONGEST_LEAD:
            opening = next((opening for opening in self._pairs if begin.startswith(opening)), None)
            if opening is not None:
                return self._enter(opening, rest, begin[len(opening) :], is_end)
            stray = next((closing for closing in self._known_closings if begin.startswith(closing)), "")
            after = begin[len(stray) :]
            if stray and (self.has_channel or after[:1] in ("\n", "\r")):
                # It closes a thought that came in another channel, or that the model left out.
                self._is_open = self._is_closed = True
                return after
            may_be_tag = after == "" if stray else any(tag.startswith(begin) for tag in (*self._pairs, *self._known_closings))
            if may_be_tag and not is_end:
                self._held = rest
                return ""
        if self._begins_inside and not self.has_channel:
            self._is_open, self._closings = True, self._known_closings
        else:
            self.is_over = True
        return rest

    def _enter(self, opening: str, rest: str, after: str, is_end: bool) -> str:
        """Return what follows the opening tag, or all if this is a sentence about the tag."""
        if not is_end and MAY_BE_MENTION.fullmatch(after):
            self._held = rest
            return ""
        if MENTION.match(after):
            self.is_over = True
            return rest
        self._is_open, self._closings = True, self._pairs[opening]
        self._is_closed = not self._closings
        return after

    def _reason(self, rest: str) -> tuple[str, str]:
        places = [(place, -len(tag), tag) for tag in self._closings if (place := rest.find(tag)) >= 0]
        if places:
            place, _, tag = min(places)
            self._is_closed = True
            reasoning = self._note_thought(rest[:place])
            self._thought.clear()
            return reasoning, self._text(rest[place + len(tag) :])
        self._held = _beginning_of_tag(rest, self._closings)
        return self._note_thought(rest.removesuffix(self._held)), ""

    def _note_thought(self, reasoning: str) -> str:
        if not self._thought:
            reasoning = reasoning.lstrip()
        if reasoning:
            self._thought.append(reasoning)
        return reasoning

    def _text(self, rest: str) -> str:
        if self.is_over:
            return rest
        text = rest.lstrip()
        self.is_over = bool(text)
        return text


def closes_alone(text: str, pairs: Mapping[str, tuple[str, ...]] = PAIRS) -> bool:
    """Whether a whole reply ends a thought that it has not opened, and does not just talk about the tag."""
    for closing in dict.fromkeys(closing for closings in pairs.values() for closing in closings):
        before, found, after = text.partition(closing)
        if found and before.strip():
            is_quoted = before[-1] in QUOTES or after[:1] in tuple(QUOTES) or before.count("```") % 2 == 1
            is_known = any(opening in before for opening in pairs) or closing in after
            return not (is_quoted or is_known or MENTION.match(after))
    return False


def _beginning_of_tag(text: str, tags: tuple[str, ...]) -> str:
    """Return the longest end of a text that may be the beginning of one of the tags."""
    tail = text[1 - max(map(len, tags)) :]
    return next((tail[at:] for at in range(len(tail)) if any(tag.startswith(tail[at:]) for tag in tags)), "")
