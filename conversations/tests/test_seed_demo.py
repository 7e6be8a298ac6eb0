"""`manage.py seed_demo`."""

from collections.abc import Callable

import pytest
from django.core.management import CommandError

from conversations.models import ChatUser, Conversation, Message
from conversations.tests.test_export_import import everything

pytestmark = pytest.mark.django_db
ARGUMENTS = ("seed_demo", "--users=5", "--conversations=60", "--messages=600", "--until=2026-06-01")


def empty() -> None:
    for model in (Message, Conversation, ChatUser):
        model.objects.all().delete()


def test_the_numbers_are_as_asked_and_the_rows_hang_together(manage: Callable[..., str]) -> None:
    manage(*ARGUMENTS)
    assert [model.objects.count() for model in (ChatUser, Conversation, Message)] == [5, 60, 600]
    assert not Conversation.objects.exclude(user_id__in=ChatUser.objects.values("id")).exists()
    assert not Message.objects.filter(role="assistant", parent=None).exists()
    assert not Message.objects.running().exists()
    titled = Conversation.objects.exclude(messages=None).first()
    assert Message.objects.in_conversation(titled.id).oldest_first()[0].content.startswith(titled.title)


def test_the_same_seed_gives_the_same_rows(manage: Callable[..., str]) -> None:
    manage(*ARGUMENTS)
    first = everything()
    empty()
    manage(*ARGUMENTS)
    assert everything() == first
    empty()
    manage(*ARGUMENTS, "--seed=2")
    assert everything() != first


def test_it_refuses_a_database_that_is_in_use(manage: Callable[..., str]) -> None:
    manage(*ARGUMENTS)
    with pytest.raises(CommandError, match="--add"):
        manage(*ARGUMENTS)
    with pytest.raises(CommandError, match="--seed"):
        manage(*ARGUMENTS, "--add")
    manage(*ARGUMENTS, "--add", "--seed=2")
    assert Conversation.objects.count() == 120
