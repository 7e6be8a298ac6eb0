"""`manage.py import_history --from`: the chats of other applications become a user's."""

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from conversations.models import ChatUser, Conversation, Message, Role
from conversations.services.history.erase import erase_user
from conversations.services.history.imports.foreign import files, importing
from conversations.services.replies.versions import load_tree
from conversations.tests.concurrency import with_own_connections
from conversations.tests.foreign_exports import (
    BEGUN_AT,
    chatgpt_chat,
    chatgpt_node,
    librechat_chat,
    librechat_message,
    linear_chatgpt_chat,
    openwebui_chat,
    openwebui_message,
    write_json,
    write_zip,
)

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]
USER = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def bring(manage_json: Manage, tmp_path: Path) -> Manage:
    """Import a list of chats; returns the summary."""

    def call(application: str, value: Any, *options: str, user: str = USER) -> Any:
        file = write_json(tmp_path / "export.json", value)
        return manage_json("import_history", file, "--from", application, "--user", user, *options)

    return call


def shown() -> list[tuple[str, str]]:
    """Return the active messages of the only conversation."""
    return list(Message.objects.active_branch().oldest_first().values_list("role", "content"))


def everything() -> list[dict[str, Any]]:
    return [*Conversation.objects.order_by("id").values(), *Message.objects.order_by("id").values()]


def test_a_chat_of_chatgpt(bring: Manage) -> None:
    chat = chatgpt_chat(
        chatgpt_node("root", None, None),
        chatgpt_node("system", "root", "system", ""),
        chatgpt_node("profile", "system", "user", {"content_type": "user_editable_context", "user_profile": "private"}),
        chatgpt_node("q1", "profile", "user", "first question", at=BEGUN_AT + 10.000001),
        chatgpt_node("a1", "q1", "assistant", "first answer", at=BEGUN_AT + 20, metadata={"model_slug": "gpt-x"}),
        chatgpt_node("q2", "a1", "user", "second question", at=BEGUN_AT + 30),
        chatgpt_node("a2", "q2", "assistant", "second answer", metadata={"model_slug": "gpt-z"}),
        is_archived=True,
        is_starred=True,
    )
    summary = bring("chatgpt", [chat])
    assert summary["conversations"] == {"inserted": 1, "present": 0, "left_out": 0}
    assert summary["messages"] == {"inserted": 4, "present": 0, "left_out": 0}
    assert (summary["is_complete"], summary["failure"], summary["unreadable"]) == (True, None, 0)
    (conversation,) = Conversation.objects.all()
    assert (conversation.user_id, conversation.title, conversation.title_source) == (UUID(USER), "A talk", "user")
    assert (conversation.is_archived, conversation.is_favorited) == (True, True)
    # The model that answers from now on is one of ours.
    assert conversation.model_tag == "default"
    assert conversation.created_at.timestamp() == BEGUN_AT + 0.25
    assert conversation.updated_at.timestamp() == BEGUN_AT + 1000.5
    rows = list(Message.objects.oldest_first())
    assert [(row.role, row.content, row.model_tag) for row in rows] == [
        ("user", "first question", None),
        ("assistant", "first answer", "gpt-x"),
        ("user", "second question", None),
        ("assistant", "second answer", "gpt-z"),
    ]
    assert [row.created_at.timestamp() for row in rows[:3]] == [BEGUN_AT + 10.000001, BEGUN_AT + 20, BEGUN_AT + 30]
    # Without a time of its own, it comes right after its question.
    assert rows[3].created_at > rows[2].created_at
    assert [row.parent_id for row in rows] == [None, rows[0].id, None, rows[2].id]
    assert [row.follows_id for row in rows] == [None, None, rows[1].id, None]
    assert {row.source for row in rows} == {"import"} and {row.status for row in rows} == {"complete"}


def test_branches_become_versions_and_current_node_is_shown(bring: Manage) -> None:
    chat = chatgpt_chat(
        chatgpt_node("root", None, None),
        chatgpt_node("q1", "root", "user", "q1"),
        chatgpt_node("a1", "q1", "assistant", "a1"),
        chatgpt_node("a1b", "q1", "assistant", "a1 again"),
        chatgpt_node("q2", "a1", "user", "q2"),
        chatgpt_node("a2", "q2", "assistant", "a2"),
        chatgpt_node("q2b", "a1", "user", "q2 edited"),
        chatgpt_node("a2b", "q2b", "assistant", "a2 edited"),
        chatgpt_node("q3", "a1b", "user", "q3"),
        current_node="a2",
    )
    bring("chatgpt", [chat])
    assert [content for _, content in shown()] == ["q1", "a1", "q2", "a2"]
    rows = {row.content: row for row in Message.objects.order_by("created_at")}
    tree = load_tree(Message.objects.all())
    assert not tree.links
    names = {row.id: name for name, row in rows.items()}
    above = {name: row.parent_id if row.role == Role.ASSISTANT else row.follows_id for name, row in rows.items()}
    versions = {name: [other for other in rows if above[other] == above[name]] for name in rows}
    assert versions["a1"] == versions["a1 again"] == ["a1", "a1 again"]
    assert versions["q2"] == versions["q2 edited"] == ["q2", "q2 edited"]
    assert versions["q3"] == ["q3"]
    assert {name for name, row in rows.items() if row.has_versions} == {"a1", "a1 again", "q2", "q2 edited"}
    assert rows["q2 edited"].parent_id == rows["q2"].id
    chosen = tree.choose(tree[rows["q3"].id])
    assert {names[each] for each in chosen.activated} == {"a1 again", "q3"}


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        ("q1", ["q1"]),
        ("gone", ["q1", "thought, then said"]),
        (None, ["q1", "thought, then said"]),
        ("thought", ["q1", "thought, then said"]),
        ("hidden", ["q1", "thought, then said"]),
    ],
)
def test_any_current_node_shows_one_branch(bring: Manage, current: str | None, expected: list[str]) -> None:
    chat = chatgpt_chat(
        chatgpt_node("q1", None, "user", "q1"),
        chatgpt_node(
            "thought", "q1", "assistant", {"content_type": "thoughts", "thoughts": [{"summary": "", "content": "hm"}]}
        ),
        chatgpt_node("a1", "thought", "assistant", "thought, then said"),
        chatgpt_node("hidden", "a1", "system", "", metadata={"is_visually_hidden_from_conversation": True}),
        current_node=current,
    )
    bring("chatgpt", [chat])
    assert [content for _, content in shown()] == expected


def test_thoughts_and_tools_become_reasoning(bring: Manage) -> None:
    chat = chatgpt_chat(
        chatgpt_node("q1", None, "user", "draw and count"),
        chatgpt_node(
            "t1",
            "q1",
            "assistant",
            {"content_type": "thoughts", "thoughts": [{"summary": "Counting", "content": "one, two"}]},
        ),
        chatgpt_node("r1", "t1", "assistant", {"content_type": "reasoning_recap", "content": "Thought for 3s"}),
        chatgpt_node(
            "c1", "r1", "assistant", {"content_type": "code", "language": "python", "text": "print(2)"}, recipient="python"
        ),
        chatgpt_node("o1", "c1", "tool", {"content_type": "execution_output", "text": "2"}),
        chatgpt_node(
            "i1",
            "o1",
            "tool",
            {
                "content_type": "multimodal_text",
                "parts": [{"content_type": "image_asset_pointer", "asset_pointer": "file-service://x", "metadata": {}}],
            },
        ),
        chatgpt_node("w1", "i1", "tool", {"content_type": "tether_quote", "url": "https://example.com", "text": "quoted"}),
        chatgpt_node("a1", "w1", "assistant", "two", metadata={"model_slug": "gpt-x"}),
    )
    summary = bring("chatgpt", [chat])
    _, reply = Message.objects.oldest_first()
    assert reply.content == "[Attachment: image]\n\ntwo"
    assert reply.reasoning == "Counting\n\none, two\n\n```python\nprint(2)\n```\n\n```\n2\n```\n\nquoted\n\nhttps://example.com"
    assert reply.model_tag == "gpt-x"
    assert summary["not_taken"] == {"images and other files": 1}


@pytest.mark.parametrize(
    ("content", "metadata", "expected"),
    [
        ({"content_type": "text", "parts": ["a", "", None, "b"]}, {}, "a\n\nb"),
        ({"content_type": "text", "parts": ["x"]}, {"attachments": [{"name": "report.pdf"}]}, "x\n\n[Attachment: report.pdf]"),
        (
            {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}, "what is this?"]},
            {"attachments": [{"name": "cat\n.png"}]},
            "what is this?\n\n[Attachment: cat .png]",
        ),
        (
            {
                "content_type": "multimodal_text",
                "parts": [
                    {"content_type": "audio_transcription", "text": "spoken", "direction": "in"},
                    {"content_type": "real_time_user_audio_video_asset_pointer", "audio_asset_pointer": {}},
                ],
            },
            {},
            "spoken",
        ),
        ({"content_type": "multimodal_text", "parts": [{"content_type": "audio_asset_pointer"}]}, {}, "[Attachment: audio]"),
        ({"content_type": "code", "language": "unknown", "text": "a ``` b"}, {}, "````\na ``` b\n````"),
        ({"content_type": "something_new", "text": "still a text"}, {}, "still a text"),
        ({"content_type": "text", "parts": ["nul \x00 here"]}, {}, "nul  here"),
        (
            {"content_type": "text", "parts": ["as \ue200cite\ue202turn0search1\ue201 says, \ue200navlist\ue201so"]},
            {"content_references": [{"matched_text": "\ue200cite\ue202turn0search1\ue201", "alt": "([x](https://x.test))"}]},
            "as ([x](https://x.test)) says, so",
        ),
    ],
    ids=["parts", "file", "image", "voice", "sound", "code", "unknown", "nul", "citations"],
)
def test_contents_of_chatgpt(bring: Manage, content: Any, metadata: Any, expected: str) -> None:
    bring("chatgpt", [chatgpt_chat(chatgpt_node("q1", None, "user", content, metadata=metadata))])
    assert shown() == [("user", expected)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "in_progress"}, ("interrupted", None)),
        ({"metadata": {"finish_details": {"type": "interrupted"}}}, ("stopped", None)),
        ({"metadata": {"finish_details": {"type": "max_tokens"}}}, ("complete", "length")),
    ],
    ids=["running", "stopped", "length"],
)
def test_how_a_reply_of_chatgpt_ended(bring: Manage, fields: Any, expected: Any) -> None:
    bring("chatgpt", [chatgpt_chat(chatgpt_node("q", None, "user", "q"), chatgpt_node("a", "q", "assistant", "a", **fields))])
    reply = Message.objects.get(role=Role.ASSISTANT)
    assert (reply.status, reply.finish_reason) == expected


def test_messages_of_one_time_keep_their_order(bring: Manage) -> None:
    nodes = [chatgpt_node("n0", None, "user", "n0", at=BEGUN_AT)]
    for number in range(1, 40):
        role = ("user", "assistant")[number % 2]
        nodes.append(chatgpt_node(f"n{number}", f"n{number - 1}", role, f"n{number}", at=BEGUN_AT - number))
    bring("chatgpt", [chatgpt_chat(*nodes)])
    assert [content for _, content in shown()] == [f"n{number}" for number in range(40)]


@pytest.mark.parametrize("at", [-1, 10**30, "soon", 99_999_999_999, True, {}, "9999-12-31T23:59:59Z"], ids=repr)
def test_impossible_times_are_unknown(bring: Manage, at: Any) -> None:
    bring("chatgpt", [chatgpt_chat(chatgpt_node("q", None, "user", "q", at=at), create_time=at, update_time=BEGUN_AT)])
    assert Message.objects.get().created_at.timestamp() == BEGUN_AT


def test_a_chat_of_openwebui(bring: Manage) -> None:
    thought = (
        '<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 seconds</summary>\n'
        "&gt; 1 &lt; 2\n&gt; so\n</details>\nBecause."
    )
    called = (
        '<details type="tool_calls" done="true" name="clock" arguments="&quot;{}&quot;" result="&quot;noon&quot;">\n'
        "<summary>Tool Executed</summary>\n</details>\nIt is noon."
    )
    chat = openwebui_chat(
        openwebui_message("q1", None, "user", "why?", timestamp=BEGUN_AT + 5, files=[{"type": "file", "name": "notes.txt"}]),
        openwebui_message("a1", "q1", "assistant", thought, model="llama3", timestamp=BEGUN_AT + 5),
        openwebui_message("a1b", "q1", "assistant", "Other.", model="qwen", timestamp=BEGUN_AT + 5),
        openwebui_message("q2", "a1", "user", "when?", timestamp=BEGUN_AT + 9),
        openwebui_message("a2", "q2", "assistant", called, model="llama3", timestamp=BEGUN_AT + 9, done=False),
        archived=True,
        pinned=True,
        meta={"tags": ["work", " Work ", "x" * 60]},
    )
    summary = bring("openwebui", [chat])
    assert summary["not_taken"] == {"images and other files": 1}
    conversation = Conversation.objects.get()
    assert (conversation.is_archived, conversation.is_favorited, conversation.tags) == (True, True, ["work"])
    assert conversation.created_at.timestamp() == BEGUN_AT and conversation.updated_at.timestamp() == BEGUN_AT + 1000
    assert [content for _, content in shown()] == ["why?\n\n[Attachment: notes.txt]", "Because.", "when?", "It is noon."]
    replies = {row.content: row for row in Message.objects.filter(role="assistant")}
    assert replies["Because."].reasoning == "1 < 2\nso"
    assert replies["It is noon."].reasoning == '```\nclock "{}"\n```\n\n```\n"noon"\n```'
    assert replies["It is noon."].status == "interrupted"
    assert (replies["Other."].is_active, replies["Other."].model_tag, replies["Other."].has_versions) == (False, "qwen", True)


def test_an_old_chat_of_openwebui_has_a_list_only(bring: Manage) -> None:
    bring(
        "openwebui", [{"title": "Old", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    )
    assert shown() == [("user", "q"), ("assistant", "a")]
    bring(
        "openwebui", [{"title": "Old", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    )
    assert Conversation.objects.count() == 1


def test_details_that_do_not_end_stay_text(bring: Manage) -> None:
    text = '<details type="reasoning">' * 2000
    bring("openwebui", [openwebui_chat(openwebui_message("q", None, "user", text))])
    assert shown() == [("user", text)]


@pytest.mark.parametrize("form", ["flat", "recursive", "tree"])
def test_a_chat_of_librechat(bring: Manage, form: str) -> None:
    parts = [
        {"type": "think", "think": "hm"},
        {"type": "tool_call", "tool_call": {"name": "clock", "args": "{}", "output": "noon"}},
        {"type": "text", "text": "It is "},
        {"type": "text", "text": {"value": "noon."}},
    ]
    q1 = librechat_message("q1", None, True, "when?", createdAt="2024-05-28T18:08:55.014Z", files=[{"filename": "a.pdf"}])
    a1 = librechat_message("a1", "q1", False, "", content=parts, createdAt="2024-05-28T18:08:56.014Z")
    a1b = librechat_message("a1b", "q1", False, ":::thinking\nhm\n:::\nNoon.", createdAt="2024-05-28T18:09:56.014Z")
    q2 = librechat_message("q2", "a1b", True, "sure?")
    a2 = librechat_message("a2", "q2", False, "Yes", unfinished=True, finish_reason="incomplete")
    if form == "flat":
        chat = librechat_chat(q1, a1, a1b, q2, a2)
    else:
        q2["children"], a1b["children"], q1["children"] = [a2], [q2], [a1, a1b]
        chat = librechat_chat(q1, recursive=True)
        if form == "tree":
            chat["messagesTree"] = chat.pop("messages")
    summary = bring("librechat", chat)
    assert summary["conversations"]["inserted"] == 1
    assert [content for _, content in shown()] == ["when?\n\n[Attachment: a.pdf]", "Noon.", "sure?", "Yes"]
    rows = {row.content: row for row in Message.objects.all()}
    other = rows["It is \n\nnoon."]
    assert other.reasoning == "hm\n\n```\nclock {}\n```\n\n```\nnoon\n```" and other.has_versions and not other.is_active
    assert rows["Noon."].reasoning == "hm"
    assert (rows["Yes"].status, rows["Yes"].finish_reason, rows["Yes"].model_tag) == ("interrupted", "length", "gpt-y")
    assert other.created_at.isoformat() == "2024-05-28T18:08:56.014000+00:00"


@pytest.mark.parametrize("application", ["chatgpt", "librechat"])
def test_thousands_of_levels(bring: Manage, manage_json: Manage, tmp_path: Path, application: str) -> None:
    deepest = 5_000
    nodes = [chatgpt_node("0", None, "user", "0")]
    nodes += [chatgpt_node(str(n), str(n - 1), ("user", "assistant")[n % 2], str(n)) for n in range(1, deepest)]
    if application == "chatgpt":
        summary = bring("chatgpt", [chatgpt_chat(*nodes)])
    else:
        # Written by hand: Python's own writer of JSON gives up at a thousand levels.
        opened = "".join(
            f'{{"messageId":"{n}","isCreatedByUser":{("true", "false")[n % 2]},"text":"{n}","children":['
            for n in range(deepest)
        )
        text = f'{{"conversationId":"deep","recursive":true,"messages":[{opened}{"]}" * deepest}]}}'
        file = raw(tmp_path / "deep.json", text.encode())
        summary = manage_json("import_history", file, "--from", "librechat", "--user", USER)
    assert summary["messages"]["inserted"] == deepest
    assert [content for _, content in shown()] == [str(number) for number in range(deepest)]


def test_importing_again_adds_nothing_and_changes_nothing(bring: Manage) -> None:
    chats = [linear_chatgpt_chat("q", "a", chat_id="one"), linear_chatgpt_chat("q", "a", chat_id="two")]
    bring("chatgpt", chats)
    Conversation.objects.filter(id=Conversation.objects.order_by("id")[0].id).update(title="renamed since")
    Message.objects.filter(role="assistant").update(content="changed since")
    before = everything()
    summary = bring("chatgpt", [*chats, linear_chatgpt_chat("q", "a", "q2", chat_id="one")])
    assert everything() == before
    assert summary["conversations"] == {"inserted": 0, "present": 3, "left_out": 0}
    assert summary["messages"]["inserted"] == 0
    # For another user, they are others.
    assert bring("chatgpt", chats, user=OTHER)["conversations"]["inserted"] == 2


def test_a_dry_run_counts_and_changes_nothing(told: Manage) -> None:
    chats = [linear_chatgpt_chat("q", "a", chat_id="one"), {"mapping": 1}, linear_chatgpt_chat("q", "a", chat_id="one")]
    code, said = told("chatgpt", chats, "--dry-run")
    assert code == 3
    assert "conversations: 1 would be imported, 1 already present, 0 left out" in said
    assert "messages: 2 would be imported" in said and "[1]: it has no mapping of messages" in said
    assert not Conversation.objects.exists()


@pytest.fixture
def told(tmp_path: Path) -> Manage:
    """Import a value; returns the exit code and what was said."""

    def call(application: str, value: Any, *options: str) -> tuple[Any, str]:
        file = write_json(tmp_path / "export.json", value)
        out = io.StringIO()
        try:
            call_command("import_history", file, "--from", application, "--user", USER, *options, stdout=out, stderr=out)
        except SystemExit as left:
            return left.code, out.getvalue()
        return 0, out.getvalue()

    return call


SECRET = "my secret words"
UNREADABLE = {
    "no object": (SECRET, "[1]: it is not an object"),
    "no mapping": ({"title": SECRET, "mapping": [SECRET]}, "[1]: it has no mapping of messages"),
    "a node that is none": ({"mapping": {"n\x1b[31m": SECRET}}, r"[1].mapping.n\x1b[31m: it is not an object"),
    "a parent that is none": ({"mapping": {"n": {"parent": 1}}}, "[1].mapping.n: its parent is not the id of a node"),
    "an unknown role": (
        {"mapping": {"n": {"message": {"author": {"role": SECRET}, "content": {}}}}},
        "[1].mapping.n.message.author: its author has no known role",
    ),
    "a circle": (
        {"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}},
        "[1]: some of its messages follow each other in a circle",
    ),
    "nothing": ({"mapping": {}}, "[1]: it has no message that is shown"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_told_by_its_path(told: Manage, case: str) -> None:
    value, expected = UNREADABLE[case]
    chats = [linear_chatgpt_chat("q", "a", chat_id="one"), value, linear_chatgpt_chat("q", "a", chat_id="two")]
    code, said = told("chatgpt", chats)
    assert code == 3 and expected in said and SECRET not in said
    # The others are there.
    assert Conversation.objects.count() == 2


@pytest.mark.parametrize(
    ("application", "value", "expected"),
    [
        ("openwebui", {"chat": {}}, "[0].chat: it has neither history.messages nor messages"),
        (
            "openwebui",
            openwebui_chat(openwebui_message("x", None, SECRET, "")),
            "[0].chat.history.messages.x: its role is not known",
        ),
        ("librechat", {"conversationId": "x"}, "[0]: it has neither messages nor messagesTree"),
        (
            "librechat",
            librechat_chat(librechat_message("x", None, None, SECRET)),  # type: ignore[arg-type]
            "[0].messages[0]: isCreatedByUser is neither true nor false",
        ),
        ("librechat", {"messages": [{"isCreatedByUser": True, "parentMessageId": []}]}, "[0].messages[0]: its parentMessageId"),
    ],
    ids=["openwebui", "role", "librechat", "sender", "parent"],
)
def test_other_applications_tell_paths_too(told: Manage, application: str, value: Any, expected: str) -> None:
    code, said = told(application, [value])
    assert code == 3 and expected in said and SECRET not in said


def raw(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


CHATS = json.dumps([linear_chatgpt_chat("q", "a", chat_id=name) for name in ("one", "two", "three")]).encode()
MALFORMED = {
    "cut": (CHATS[:-200], "[2] can't be read: the file ends within it"),
    "not JSON": (CHATS[:-1] + b", {]", "[3] can't be read: it is not valid JSON"),
    "not UTF-8": (CHATS[:-1] + b', {"title": "\xff"}]', "[3] can't be read: it is not valid JSON"),
    "cut gzip": (gzip.compress(CHATS * 1, mtime=0)[:-20], "the compressed data is cut or damaged"),
    "empty": (b"", "[0] can't be read: the file ends within it"),
    # It took gigabytes to say that it ends too early.
    "nested": (CHATS[:-1] + b", " + b"[" * (files.MAX_DEPTH + 1), "[3] is nested more than 20,000 levels deep"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_imported_up_to_there(manage: Manage, tmp_path: Path, case: str) -> None:
    data, expected = MALFORMED[case]
    file = raw(tmp_path / "export.json", data)
    with pytest.raises(CommandError) as failed:
        manage("import_history", file, "--from", "chatgpt", "--user", USER)
    assert failed.value.returncode == 1 and expected in str(failed.value)
    assert Conversation.objects.count() == {"cut": 2, "not JSON": 3, "not UTF-8": 3, "nested": 3}.get(
        case, Conversation.objects.count()
    )
    # Mended, the rest comes, and nothing twice.
    manage("import_history", raw(tmp_path / "mended.json", CHATS), "--from", "chatgpt", "--user", USER)
    assert (Conversation.objects.count(), Message.objects.count()) == (3, 6)


def test_forms_of_a_file(manage_json: Manage, tmp_path: Path) -> None:
    chat, other = linear_chatgpt_chat("q", "a", chat_id="one"), linear_chatgpt_chat("q", "a", chat_id="two")
    texts = {
        "one.json": b"\xef\xbb\xbf \n" + json.dumps(chat).encode(),
        "lines.json": f"{json.dumps(chat)}\n{json.dumps(other)}\n".encode(),
        "list.json.gz": gzip.compress(json.dumps([chat, other]).encode()),
    }
    found = {}
    for name, data in texts.items():
        summary = manage_json("import_history", raw(tmp_path / name, data), "--from", "chatgpt", "--user", USER)
        found[name] = summary["conversations"]["inserted"] + summary["conversations"]["present"]
    assert found == {"one.json": 1, "lines.json": 2, "list.json.gz": 2}


def test_a_zip_as_users_get_it(manage_json: Manage, tmp_path: Path) -> None:
    first, second = ([linear_chatgpt_chat("q", "a", chat_id=name)] for name in ("one", "two"))
    members = {"user.json": {}, "chat.html": "<html>", "x/conversations-000.json": first, "x/conversations-001.json": second}
    file = write_zip(tmp_path / "export.zip", **members)
    summary = manage_json("import_history", file, "--from", "chatgpt", "--user", USER)
    assert summary["conversations"]["inserted"] == 2


@pytest.mark.parametrize("case", ["nothing in it", "damaged", "cut"])
def test_a_zip_that_cannot_be_read(manage: Manage, tmp_path: Path, case: str) -> None:
    file = write_zip(tmp_path / "export.zip", **{"user.json" if case == "nothing in it" else "conversations.json": "[1, 2, 3]"})
    data = Path(file).read_bytes()
    if case == "damaged":
        Path(file).write_bytes(data.replace(data[40:50], b"0123456789"))
    elif case == "cut":
        Path(file).write_bytes(data[: len(data) // 2])
    with pytest.raises(CommandError) as failed:
        manage("import_history", file, "--from", "chatgpt", "--user", USER)
    assert failed.value.returncode == 1
    assert ("no file with conversations" if case == "nothing in it" else "can't be read") in str(failed.value)


def test_a_conversation_that_is_too_large_is_refused(manage: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_CHAT_BYTES", 200_000)
    file = write_json(tmp_path / "x.json", [linear_chatgpt_chat("q"), linear_chatgpt_chat("x" * 400_000, chat_id="two")])
    with pytest.raises(CommandError, match=r"\[1\] is larger than"):
        manage("import_history", file, "--from", "chatgpt", "--user", USER)
    assert Conversation.objects.count() == 1


@pytest.mark.parametrize(
    "options",
    [["--from", "chatgpt"], ["--from", "chatgpt", "--user", USER, "--verify"], ["--from", "claude", "--user", USER]],
    ids=["no user", "verify", "unknown application"],
)
def test_wrong_arguments(manage: Manage, tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        manage("import_history", write_json(tmp_path / "x.json", []), *options)
    assert refused.value.returncode in (1, 2) and "import failed" not in str(refused.value)


def test_a_user_is_found_by_address_and_an_erased_one_is_refused(manage: Manage, tmp_path: Path) -> None:
    ChatUser.objects.create(id=USER, email="mira@example.com")
    file = write_json(tmp_path / "x.json", [linear_chatgpt_chat("q", "a")])
    arguments = ("import_history", file, "--from", "chatgpt", "--user")
    with pytest.raises(CommandError) as refused:
        manage(*arguments, "nobody@example.com")
    assert refused.value.returncode == 2
    manage(*arguments, "Mira@example.com")
    assert Conversation.objects.get().user_id == UUID(USER)
    erase_user(user_id=UUID(USER))
    with pytest.raises(CommandError, match="the user was erased"):
        manage(*arguments, USER)
    assert not Conversation.objects.exists()
    manage(*arguments, USER, "--include-erased")
    assert Conversation.objects.count() == 1


@pytest.mark.slow
def test_two_thousand_conversations_with_branches_elsewhere(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    """Imported, exported, imported into an empty database and exported again: the same, to the byte."""
    chance = random.Random(23)
    chats = [_grown_chat(chance, number) for number in range(2_000)]
    file = write_json(tmp_path / "conversations.json", chats)
    summary = manage_json("import_history", file, "--from", "chatgpt", "--user", USER)
    assert summary["conversations"]["inserted"] == 2_000 and not summary["unreadable"]
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    manage("export_history", str(first), "--user", USER)
    paths = _paths()
    for chat in chats:
        assert paths[chat["title"]] == _path(chat)
    Message.objects.all().delete()
    Conversation.objects.all().delete()
    manage("import_history", str(first))
    manage("export_history", str(second), "--user", USER)
    assert second.read_bytes() == first.read_bytes()
    assert _paths() == paths
    assert manage_json("import_history", file, "--from", "chatgpt", "--user", USER)["conversations"]["present"] == 2_000


def _grown_chat(chance: random.Random, number: int) -> dict[str, Any]:
    """Return a chat with a random tree."""
    nodes = [chatgpt_node("root", None, None)]
    for step in range(chance.randint(2, 12)):
        above = chance.choice(nodes)
        role = "assistant" if above["message"] and above["message"]["author"]["role"] == "user" else "user"
        nodes.append(chatgpt_node(f"{number}-{step}", above["id"], role, f"text {number}-{step}", at=BEGUN_AT + number + step))
    end = chance.choice([node for node in nodes[1:] if not any(other["parent"] == node["id"] for other in nodes)])
    return chatgpt_chat(*nodes, chat_id=f"chat-{number}", title=f"talk {number}", current_node=end["id"])


def _path(chat: dict[str, Any]) -> list[str]:
    path: list[str] = []
    node = chat["mapping"][chat["current_node"]]
    while node["message"]:
        path.insert(0, node["message"]["content"]["parts"][0])
        node = chat["mapping"][node["parent"]]
    return path


def _paths() -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for title, content in Message.objects.active_branch().oldest_first().values_list("conversation__title", "content"):
        paths.setdefault(title, []).append(content)
    return paths


def test_an_interrupted_import_says_what_it_did_and_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "DEFAULT_BATCH_LINES", 6)
    chats = [linear_chatgpt_chat("q", "a", chat_id=str(number)) for number in range(9)]
    file = write_json(tmp_path / "x.json", chats)
    batches: list[int] = []

    def note(result: importing.ChatImportResult) -> None:
        batches.append(result.conversations.inserted)

    def bring_some(*, stop_after: int | None) -> importing.ChatImportResult:
        batches.clear()
        return importing.import_chats(
            name=file,
            application="chatgpt",
            user_id=UUID(USER),
            should_stop=lambda: stop_after is not None and len(batches) >= stop_after,
            on_batch=note,
        )

    result = bring_some(stop_after=1)
    assert not result.is_complete and result.conversations.inserted == 2 == Conversation.objects.count()
    result = bring_some(stop_after=None)
    assert result.is_complete and (result.conversations.inserted, result.conversations.present) == (7, 2)
    assert (Conversation.objects.count(), Message.objects.count()) == (9, 18)


def test_a_batch_that_the_database_refuses_leaves_nothing_half_done(
    manage: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "DEFAULT_BATCH_LINES", 3)
    chats = [linear_chatgpt_chat("q", "a", chat_id="one"), linear_chatgpt_chat("q", SECRET, chat_id="two")]
    file = write_json(tmp_path / "x.json", chats)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE messages ADD CONSTRAINT no_secrets CHECK (content NOT LIKE '%secret%')")
    with pytest.raises(CommandError) as failed:
        manage("import_history", file, "--from", "chatgpt", "--user", USER)
    assert failed.value.returncode == 1 and "no_secrets" in str(failed.value) and SECRET not in str(failed.value)
    assert (Conversation.objects.count(), Message.objects.count()) == (1, 2)


@pytest.mark.django_db(transaction=True)
def test_two_imports_at_once_store_everything_once(tmp_path: Path) -> None:
    chats = [linear_chatgpt_chat("q", "a", chat_id=str(number)) for number in range(50)]
    file = write_json(tmp_path / "x.json", chats)
    results = with_own_connections(
        lambda number: importing.import_chats(name=file, application="chatgpt", user_id=UUID(USER)), times=3
    )
    assert all(result.is_complete for result in results)
    assert sum(result.conversations.inserted for result in results) == 50 == Conversation.objects.count()
    assert Message.objects.count() == 100
