"""The pages of staff about themselves: their sessions, and their second factor."""

import logging
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from chatapi.incoming.client_address import address_group
from conversations.models.staff import AccessKind
from conversations.services.staff.access import Reader, note_list
from conversations.sign_in import second_factor, staff_sessions
from conversations.sign_in.limits import count_attempt
from conversations.sign_in.methods import PASSWORD, method_of
from conversations.sign_in.second_factor import State
from conversations.staff_reason import reason_of

logger = logging.getLogger(__name__)

END_PERMISSION = "conversations.end_staffsession"
RESET_PERMISSION = "conversations.reset_second_factor"
MOST_COLLEAGUES = 200


def note_act(request: HttpRequest, kind: AccessKind, what: str) -> None:
    """Record what a member of staff does with accounts of staff."""
    user: Any = request.user
    address = request.META.get("REMOTE_ADDR", "")
    reader = Reader(staff_id=user.pk, staff_name=user.get_username(), address=address, reason=reason_of(request))
    note_list(reader=reader, user_id=None, search=what, kind=kind)


def safe_next(request: HttpRequest) -> str:
    """Return the page of ours that was wanted before."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    return wanted if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) else settings.ADMIN_PATH


# --- Sessions ----------------------------------------------------------------------------------------------------------


def sessions_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """List the sessions of the signed-in member of staff, and of others for those who may end them."""
    user: Any = request.user
    may_end, may_reset = user.has_perm(END_PERMISSION), user.has_perm(RESET_PERMISSION)
    if request.method == "POST":
        _act_on_sessions(request, may_end=may_end, may_reset=may_reset)
        return redirect("admin:sessions")
    context |= {
        "title": "Sessions",
        "own": staff_sessions.list_sessions(user),
        "present_key": request.session.session_key,
        "others": staff_sessions.list_all_sessions(without=user.pk) if may_end else None,
        "with_factor": _with_factor(user) if may_reset else None,
        "most": staff_sessions.MOST_LISTED,
    }
    return _unstored(TemplateResponse(request, "admin/conversations/sessions.html", context))


def _act_on_sessions(request: HttpRequest, *, may_end: bool, may_reset: bool) -> None:
    user: Any = request.user
    action, wanted = request.POST.get("action", ""), request.POST.get("id", "")
    row_id = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 19 else 0
    if action == "end_others":
        ended = staff_sessions.end_sessions(user=user, but_key=request.session.session_key)
        _say_ended(request, ended, "own")
    elif action == "end":
        found = staff_sessions.find_session(row_id)
        if found is None:
            messages.error(request, "This session has ended already.")
        elif found.user_id == user.pk:
            _say_ended(request, staff_sessions.end_sessions(user=user, session_ids=[row_id]), "own")
        elif may_end:
            ended = staff_sessions.end_sessions(user=found.user, session_ids=[row_id])
            _say_ended(request, ended, found.user.get_username())
        else:
            raise PermissionDenied
    elif action == "end_all" and may_end:
        colleague = _colleague(row_id)
        _say_ended(request, staff_sessions.end_sessions(user=colleague), colleague.get_username())
    elif action == "reset" and may_reset:
        _reset_factor(request, _colleague(row_id))
    else:
        raise PermissionDenied


def _say_ended(request: HttpRequest, count: int, whose: str) -> None:
    note_act(request, AccessKind.SESSION_ENDED, f"{count} of {whose}" if whose != "own" else f"{count} of their own")
    messages.success(request, f"Ended {count} session{'' if count == 1 else 's'}.")


def _colleague(user_id: int) -> User:
    found = User.objects.filter(pk=user_id, is_staff=True).first()
    if found is None:
        raise PermissionDenied
    return found


def _reset_factor(request: HttpRequest, colleague: User) -> None:
    staff: Any = request.user
    if colleague.pk == staff.pk or (colleague.is_superuser and not staff.is_superuser):
        # Their own they remove on the page of the second factor, which asks for it first.
        raise PermissionDenied
    if second_factor.remove(colleague):
        note_act(request, AccessKind.SECOND_FACTOR, f"reset that of {colleague.get_username()}")
        staff_sessions.end_sessions(user=colleague)
    messages.success(request, f"{colleague.get_username()} has no second factor any more.")


def _with_factor(user: User) -> list[User]:
    """Return colleagues who have a second factor, whose reset this member of staff may ask for."""
    found = User.objects.filter(is_staff=True, totpdevice__confirmed=True).exclude(pk=user.pk).distinct().order_by("username")
    return list((found if user.is_superuser else found.exclude(is_superuser=True))[:MOST_COLLEAGUES])


# --- The second factor -------------------------------------------------------------------------------------------------


def code_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Ask for the second factor of a session that lacks it, limited like passwords."""
    if second_factor.state_of(request) != State.CODE:
        return redirect(safe_next(request))
    problem, wait_s = "", 0
    if request.method == "POST":
        attempt = count_attempt(request, account=f"second factor of {request.user.pk}")
        if attempt.wait_s:
            wait_s = max(1, round(attempt.wait_s))
            problem = "Too many attempts."
        elif kind := second_factor.give_code(request, request.POST.get("code", "")[:100]):
            attempt.give_back()
            note_act(request, AccessKind.SECOND_FACTOR, f"gave a {kind}")
            return redirect(safe_next(request))
        else:
            logger.warning("second factor refused", extra={"address": address_group(request)})
            problem = "This code is wrong, was used before, or comes too soon after a wrong one. Wait for the next code."
    context |= {"title": "Second factor", "problem": problem, "wait_s": wait_s, "next": safe_next(request)}
    page = TemplateResponse(request, "admin/conversations/second_factor_code.html", context, status=429 if wait_s else 200)
    if wait_s:
        page["Retry-After"] = str(wait_s)
    return _unstored(page)


def factor_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Show the second factor of the signed-in member of staff, and let them enrol another, or remove it."""
    user: Any = request.user
    if method_of(request) != PASSWORD or settings.ADMIN_SECOND_FACTOR == "off":
        messages.info(request, "You have no password here, so you need no second factor.")
        return redirect("admin:index")
    device = second_factor.find_device(user)
    context |= {
        "title": "Second factor",
        "is_required": settings.ADMIN_SECOND_FACTOR == "required",
        "state": second_factor.state_of(request).value,
        "next": safe_next(request),
    }
    action = request.POST.get("action", "") if request.method == "POST" else ""
    if action == "begin":
        context |= _enrolment(second_factor.begin_enrolment(user))
    elif action == "confirm":
        context |= _confirm(request)
    elif action == "recovery" and device is not None:
        context["codes"] = second_factor.make_recovery_codes(user)
        note_act(request, AccessKind.SECOND_FACTOR, "made new recovery codes")
    elif action == "remove" and device is not None and not context["is_required"]:
        second_factor.remove(user)
        note_act(request, AccessKind.SECOND_FACTOR, "removed their own")
        messages.success(request, "You have no second factor any more.")
        return redirect("admin:second_factor")
    context["device"] = second_factor.find_device(user)
    context["codes_left"] = second_factor.count_recovery_codes(user)
    return _unstored(TemplateResponse(request, "admin/conversations/second_factor.html", context))


def _enrolment(device: Any) -> dict[str, Any]:
    return {"drawing": second_factor.draw_code(device), "key": second_factor.readable_key(device)}


def _confirm(request: HttpRequest) -> dict[str, Any]:
    device = second_factor.find_unconfirmed(request.user)
    if device is None:
        return {"problem": "Begin again."}
    attempt = count_attempt(request, account=f"second factor of {request.user.pk}")
    code = "".join(request.POST.get("code", "")[:20].split())
    codes = None if attempt.wait_s else second_factor.confirm_enrolment(request, device, code)
    if codes is None:
        return {**_enrolment(device), "problem": "This code is wrong. Wait for the next one of the app, and check its clock."}
    attempt.give_back()
    note_act(request, AccessKind.SECOND_FACTOR, "enrolled an app")
    return {"codes": codes, "state": State.NOTHING.value}


def _unstored(page: TemplateResponse) -> TemplateResponse:
    page["Cache-Control"] = "no-store"
    return page


def second_factor_path(request: HttpRequest, state: State) -> str:
    """Return where a session goes that lacks something."""
    name = "admin:second_factor_code" if state == State.CODE else "admin:second_factor"
    wanted = request.get_full_path() if request.method == "GET" else settings.ADMIN_PATH
    return f"{reverse(name)}?{urlencode({'next': wanted})}"
