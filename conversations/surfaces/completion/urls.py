"""The paths of the completion surface."""

from django.urls import path

from conversations.surfaces.completion.views import CompletionView, ConversationView

urlpatterns = [
    path("conversation", ConversationView.as_view()),
    path("conversation/completion/<str:conversation_id>", CompletionView.as_view()),
]
