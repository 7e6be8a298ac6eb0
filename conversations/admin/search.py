"""Finding conversations the way support staff ask for them."""

from django.db.models import Q

from conversations.keyset import parse_id
from conversations.models import ChatUser
from conversations.querysets import ConversationQuerySet

MOST_USERS = 50


def search_conversations(conversations: ConversationQuerySet, wanted: str) -> ConversationQuerySet:
    """Restrict to a conversation's or a user's exact id, to users by the beginning of their e-mail, or to titles."""
    wanted = wanted.strip().replace("\x00", "")
    if not wanted:
        return conversations
    if wanted_id := parse_id(wanted):
        return conversations.filter(Q(id=wanted_id) | Q(user_id=wanted_id))
    if "@" in wanted:
        users = ChatUser.objects.filter(email__istartswith=wanted).values_list("id", flat=True)[:MOST_USERS]
        return conversations.filter(user_id__in=list(users))
    return conversations.filter(title__icontains=wanted)
