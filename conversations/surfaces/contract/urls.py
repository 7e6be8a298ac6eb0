"""The paths of the contract surface."""

from django.urls import path

from chatapi.incoming.routes import route
from conversations.surfaces.contract.views import ConversationViewSet, HealthView, MessageViewSet

urlpatterns = [
    route("health", HealthView.as_view(), is_probe=True),
    path("conversations", ConversationViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "conversations/<str:conversation_id>",
        ConversationViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
    ),
    route(
        "conversations/<str:conversation_id>/messages",
        MessageViewSet.as_view({"get": "list", "post": "create"}),
        begins_reply="POST",
    ),
]
