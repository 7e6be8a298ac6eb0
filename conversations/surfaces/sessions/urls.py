"""The paths of the session surface."""

from django.urls import path

from conversations.surfaces.sessions.views import HistoryView, SessionView, StreamView

urlpatterns = [
    path("stream", StreamView.as_view()),
    path("<str:session_id>/history", HistoryView.as_view()),
    path("<str:session_id>", SessionView.as_view()),
]
