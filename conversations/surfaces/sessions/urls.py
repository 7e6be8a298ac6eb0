"""The paths of the session surface."""

from django.urls import path

from chatapi.incoming.routes import route
from conversations.surfaces.sessions.views import ClaimView, HistoryView, SessionView, StreamView

urlpatterns = [
    route("stream", StreamView.as_view(), begins_reply="POST", may_bring_history=True),
    path("<str:session_id>/history", HistoryView.as_view()),
    path("<str:session_id>/claim", ClaimView.as_view()),
    path("<str:session_id>", SessionView.as_view()),
]
