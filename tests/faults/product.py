"""The names of the service that this suite takes hold of. Moving a module of the service changes the imports here only.

Imported by instrumented servers, before the views are: those take some of these names with them.
"""

from chatapi.database import release_connections
from conversations.models import Message
from conversations.services import conversations as deleting
from conversations.services.turns import begin, leases, replies
from conversations.services.turns.poll import SharedReply
from conversations.services.turns.replies import DatabaseReplyStore, live_replies
from conversations.services.turns.retries import read_earlier
from inference_proxy import generation
from inference_proxy.generation import Generation
from inference_proxy.live import LiveReplies
from inference_proxy.responses import FrameStream
from inference_proxy.transcript import Transcript
from inference_proxy.upstream import UpstreamCall

__all__ = [
    "DatabaseReplyStore",
    "FrameStream",
    "Generation",
    "LiveReplies",
    "Message",
    "SharedReply",
    "Transcript",
    "UpstreamCall",
    "begin",
    "deleting",
    "generation",
    "leases",
    "live_replies",
    "read_earlier",
    "release_connections",
    "replies",
]
