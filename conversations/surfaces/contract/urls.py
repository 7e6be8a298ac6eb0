"""The paths of the contract surface."""

from django.urls import path

from conversations.surfaces.contract.views import ConversationViewSet, HealthView, MessageViewSet

urlpatterns = [
    path("health", HealthView.as_view()),
    path("conversations", ConversationViewSet.as_view({"get": "list", "post": "create"})),
    path(
        "conversations/<str:conversation_id>",
        ConversationViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
    ),
    path("conversations/<str:conversation_id>/messages", MessageViewSet.as_view({"get": "list", "post": "create"})),
]
