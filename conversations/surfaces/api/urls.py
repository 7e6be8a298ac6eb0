"""The paths of the primary surface."""

from django.urls import path

from chatapi.auth.authentication import BearerAuthentication
from chatapi.incoming.routes import route
from conversations.surfaces.api.tickets import TicketAuthentication
from conversations.surfaces.api.views.assistants import AssistantsView
from conversations.surfaces.api.views.bulk_and_tags import BulkView, TagsView
from conversations.surfaces.api.views.changes import ChangesView
from conversations.surfaces.api.views.conversations import ConversationViewSet
from conversations.surfaces.api.views.export import ConversationExportView, ExportView
from conversations.surfaces.api.views.feedback import FeedbackView
from conversations.surfaces.api.views.health import HealthView, ReadyView
from conversations.surfaces.api.views.instructions import InstructionsView
from conversations.surfaces.api.views.messages import MessageViewSet
from conversations.surfaces.api.views.models import ModelsView, ModelSwapView
from conversations.surfaces.api.views.openapi import DocumentationView, SchemaView
from conversations.surfaces.api.views.search import SearchView
from conversations.surfaces.api.views.usage import UsageView
from conversations.surfaces.api.views.users import UsersView

# Ids are strings here, so that a malformed id is a 404 only after authentication.
CONVERSATION = "conversations/<str:conversation_id>"
MESSAGE = f"{CONVERSATION}/messages/<str:message_id>"

urlpatterns = [
    # The service
    route("health", HealthView.as_view(), is_probe=True),
    route("ready", ReadyView.as_view(), is_probe=True),
    path("models", ModelsView.as_view()),
    path("models/swap", ModelSwapView.as_view()),
    # Conversations
    path("conversations", ConversationViewSet.as_view({"get": "list", "post": "create", "delete": "destroy_all"})),
    path("conversations/bulk", BulkView.as_view()),
    path("tags", TagsView.as_view()),
    path("export", ExportView.as_view()),
    path("changes", ChangesView.as_view()),
    path(
        CONVERSATION,
        ConversationViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
    ),
    path(f"{CONVERSATION}/restore", ConversationViewSet.as_view({"post": "restore"})),
    path(f"{CONVERSATION}/export", ConversationExportView.as_view()),
    path(f"{CONVERSATION}/stop", ConversationViewSet.as_view({"post": "stop"})),
    path(f"{CONVERSATION}/title", ConversationViewSet.as_view({"post": "retitle"})),
    path(f"{CONVERSATION}/resume", ConversationViewSet.as_view({"post": "resume"})),
    path(f"{CONVERSATION}/fork", ConversationViewSet.as_view({"post": "fork"})),
    route(f"{CONVERSATION}/regenerate", ConversationViewSet.as_view({"post": "regenerate"}), begins_reply="POST"),
    # Messages
    route(f"{CONVERSATION}/messages", MessageViewSet.as_view({"get": "list", "post": "create"}), begins_reply="POST"),
    route(MESSAGE, MessageViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}), begins_reply="PUT"),
    route(f"{MESSAGE}/regenerate", MessageViewSet.as_view({"post": "regenerate"}), begins_reply="POST"),
    route(f"{MESSAGE}/continue", MessageViewSet.as_view({"post": "go_on"}), begins_reply="POST"),
    path(f"{MESSAGE}/activate", MessageViewSet.as_view({"post": "activate"})),
    path(
        f"{MESSAGE}/stream",
        MessageViewSet.as_view({"get": "stream"}, authentication_classes=[BearerAuthentication, TicketAuthentication]),
    ),
    path(f"{MESSAGE}/ticket", MessageViewSet.as_view({"post": "ticket"})),
    path(f"{MESSAGE}/feedback", FeedbackView.as_view()),
    # The caller
    path("me/instructions", InstructionsView.as_view()),
    # Assistants, search, usage, users
    path("assistants", AssistantsView.as_view()),
    path("search", SearchView.as_view()),
    path("usage", UsageView.as_view()),
    path("admin/users", UsersView.as_view()),
    # The API description
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", DocumentationView.as_view()),
]
