"""The names of the service that this suite takes hold of. Moving a module of the service changes the imports here only.

Imported by instrumented servers, before the views are: those take some of these names with them.
"""

from gevent.server import StreamServer

from chatapi.database.connections import release_connections
from conversations.models import Message
from conversations.services import conversations as deleting
from conversations.services.replies import checkpoints, ending, leases
from conversations.services.replies import store as replies
from conversations.services.replies.leases import LeaseWatch
from conversations.services.replies.poll import SharedReply
from conversations.services.replies.store import DatabaseReplyStore, live_replies
from conversations.services.sending import begin, locking, permits, statements
from conversations.services.sending.retries import read_earlier
from gunicorn_worker.worker import Worker
from inference_proxy.replies import generation
from inference_proxy.replies.generation import Generation
from inference_proxy.replies.live import LiveReplies
from inference_proxy.replies.streams import FrameStream
from inference_proxy.replies.transcript import Transcript
from inference_proxy.upstream.call import UpstreamCall

__all__ = [
    "DatabaseReplyStore",
    "FrameStream",
    "Generation",
    "LeaseWatch",
    "LiveReplies",
    "Message",
    "SharedReply",
    "StreamServer",
    "Transcript",
    "UpstreamCall",
    "Worker",
    "begin",
    "checkpoints",
    "deleting",
    "ending",
    "generation",
    "leases",
    "live_replies",
    "locking",
    "permits",
    "read_earlier",
    "release_connections",
    "replies",
    "statements",
]
