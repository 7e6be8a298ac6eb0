"""The paths of the OpenAI surface."""

from django.urls import path

from conversations.surfaces.openai.views.completion import CompletionView
from conversations.surfaces.openai.views.conversations import ConversationViewSet
from conversations.surfaces.openai.views.models import ModelsView, ModelView
from conversations.surfaces.openai.views.response import ResponseViewSet

conversations = ConversationViewSet.as_view({"post": "create"})
conversation = ConversationViewSet.as_view({"get": "retrieve", "post": "update", "delete": "destroy"})
items = ConversationViewSet.as_view({"get": "items", "post": "create_items"})
item = ConversationViewSet.as_view({"get": "retrieve_item", "delete": "destroy_item"})
response = ResponseViewSet.as_view({"get": "retrieve", "delete": "destroy"})

urlpatterns = [
    path("models", ModelsView.as_view()),
    # Names of models may contain slashes.
    path("models/<path:model>", ModelView.as_view()),
    path("chat/completions", CompletionView.as_view()),
    path("conversations", conversations),
    path("conversations/<str:conversation_id>", conversation),
    path("conversations/<str:conversation_id>/items", items),
    path("conversations/<str:conversation_id>/items/<str:item_id>", item),
    path("responses", ResponseViewSet.as_view({"post": "create"})),
    path("responses/<str:response_id>", response),
    path("responses/<str:response_id>/cancel", ResponseViewSet.as_view({"post": "cancel"})),
    path("responses/<str:response_id>/input_items", ResponseViewSet.as_view({"get": "input_items"})),
]
