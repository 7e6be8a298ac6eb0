import pytest
from django.urls import reverse
from .factories import *

@pytest.mark.parametrize("who", ["support", "operator", "superuser"])
def test_pages(who, request):
    c = request.getfixturevalue(who)
    make_chat_user()
    conv = make_long_conversation(60)
    for url in ["/admin/", "/admin/conversations/conversation/", "/admin/conversations/conversation/?q=number",
        "/admin/conversations/conversation/?last_reply=complete","/admin/conversations/conversation/?last_reply=failed","/admin/conversations/conversation/?trouble=both&feedback=up&model=default&is_favorited__exact=0",
        f"/admin/conversations/conversation/{conv.pk}/change/", f"/admin/conversations/chatuser/{USER_ID}/change/", "/admin/conversations/chatuser/", "/admin/conversations/chatuser/?q=ada", "/admin/conversations/conversation/dashboard/", "/admin/conversations/assistant/"]:
        r = c.get(url)
        assert r.status_code == 200, (url, r.status_code, r.content[:300])
