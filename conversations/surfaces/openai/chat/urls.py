"""The paths of chat completions, whose errors name other fields than those of responses."""

from chatapi.incoming.routes import route
from conversations.surfaces.openai.chat.views import CompletionView
from conversations.surfaces.openai.errors import give_chat_form

shape_response = give_chat_form

urlpatterns = [
    route("completions", CompletionView.as_view(), begins_reply="POST", may_bring_history=True),
]
