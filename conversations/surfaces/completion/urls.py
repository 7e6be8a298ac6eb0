"""The paths of the completion surface."""

from django.urls import path

from chatapi.incoming.routes import route
from conversations.surfaces.completion.views import CompletionView, ConversationView

urlpatterns = [
    path("conversation", ConversationView.as_view()),
    route("conversation/completion/<str:conversation_id>", CompletionView.as_view(), begins_reply="POST"),
]
