"""The paths of the OpenAI surface."""

from django.urls import include, path

from chatapi.incoming.routes import route
from conversations.surfaces.openai.errors import give_openai_form
from conversations.surfaces.openai.views.conversations import ConversationViewSet
from conversations.surfaces.openai.views.models import ModelsView, ModelView
from conversations.surfaces.openai.views.response import ResponseViewSet

conversations = ConversationViewSet.as_view({"post": "create"})
conversation = ConversationViewSet.as_view({"get": "retrieve", "post": "update", "delete": "destroy"})
items = ConversationViewSet.as_view({"get": "items", "post": "create_items"})
item = ConversationViewSet.as_view({"get": "retrieve_item", "delete": "destroy_item"})
response = ResponseViewSet.as_view({"get": "retrieve", "delete": "destroy"})

shape_response = give_openai_form

urlpatterns = [
    path("models", ModelsView.as_view()),
    # Names of models may contain slashes.
    path("models/<path:model>", ModelView.as_view()),
    path("chat/", include("conversations.surfaces.openai.chat.urls")),
    path("conversations", conversations),
    path("conversations/<str:conversation_id>", conversation),
    path("conversations/<str:conversation_id>/items", items),
    path("conversations/<str:conversation_id>/items/<str:item_id>", item),
    route("responses", ResponseViewSet.as_view({"post": "create"}), begins_reply="POST", may_bring_history=True),
    path("responses/<str:response_id>", response),
    path("responses/<str:response_id>/cancel", ResponseViewSet.as_view({"post": "cancel"})),
    path("responses/<str:response_id>/input_items", ResponseViewSet.as_view({"get": "input_items"})),
]
