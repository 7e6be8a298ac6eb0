"""/api/admin/users: the users of the service, for admins."""

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.keyset import SortKey, encode_cursor
from conversations.services.staff.users import count_totals, list_users
from conversations.surfaces.api.operations import service as operations
from conversations.surfaces.api.permissions import IsAdmin
from conversations.surfaces.api.responses.usage import TotalsSchema, UserListSchema, UserSchema
from conversations.surfaces.paging import read_cursor
from conversations.surfaces.query_parameters import read_whole_number
from conversations.surfaces.replica import from_replica

USERS_CURSOR = "u"
DEFAULT_LIMIT = 50
MAX_LIMIT = 100


class UsersView(APIView):
    permission_classes = [IsAuthenticated, IsAdmin]

    @operations.list_users
    @from_replica
    def get(self, request: Request) -> Response:
        params = request.query_params
        limit = read_whole_number(params, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
        key = read_cursor(params, USERS_CURSOR)
        users = list_users(after=None if key is None else key.id, limit=limit + 1)
        page = users[:limit]
        next_cursor = encode_cursor(USERS_CURSOR, SortKey(time=None, id=page[-1]["id"])) if len(users) > limit else None
        return Response(
            UserListSchema([UserSchema(**each) for each in page], TotalsSchema(**count_totals()), limit, next_cursor)
        )
