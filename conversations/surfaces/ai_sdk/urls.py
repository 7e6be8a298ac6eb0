"""The paths of the AI SDK surface."""

from django.urls import path

from chatapi.incoming.routes import route
from conversations.surfaces.ai_sdk.views import ChatView, ResumeView, StopView, SubmitView

urlpatterns = [
    route("", SubmitView.as_view(), begins_reply="POST", may_bring_history=True),
    path("/<str:chat_id>", ChatView.as_view()),
    path("/<str:chat_id>/stream", ResumeView.as_view()),
    path("/<str:chat_id>/stop", StopView.as_view()),
]
