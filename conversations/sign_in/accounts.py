"""The account of a person who signs in through the identity provider.

Principle: a person is who the provider's issuer and subject say, and nothing else. A name or an address never leads to somebody
else's account, with one exception: the first sign-in takes over the only staff account with the same address, if the provider
has verified that address and the account is no superuser's. It then loses its password, so that nobody can go around the
provider. Groups are set from the claims at each sign-in.
"""

import logging
import re

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction

from conversations.models.staff import StaffIdentity
from conversations.sign_in.people import SUPERUSERS, Person
from conversations.sign_in.refusals import SignInRefused

logger = logging.getLogger(__name__)

MOST_LOGIN_CHARACTERS = 150
MOST_NAME_CHARACTERS = 150
# As Django's own check of names of accounts.
LOGIN_FORM = re.compile(r"[\w.@+-]+")


class NotStaff(SignInRefused):
    def __init__(self) -> None:
        super().__init__("no_group", "Your account is in none of the groups that may use this admin. Ask your administrator.")


class AccountClosed(SignInRefused):
    def __init__(self) -> None:
        super().__init__("inactive", "Your account here is closed. Ask your administrator.")


def account_of(person: Person) -> User:
    """Return the account of a person, with the groups that they have now. Raises `NotStaff` or `AccountClosed`."""
    try:
        with transaction.atomic():
            return _account_of(person)
    except IntegrityError:
        # The same person signs in twice at once, and the other one was faster.
        with transaction.atomic():
            return _account_of(person)


def withdraw(person: Person) -> None:
    """Take away what an earlier sign-in gave to a person who is no longer staff. Their sessions end with it."""
    for identity in StaffIdentity.objects.filter(issuer=person.issuer, subject=person.subject).select_related("user"):
        identity.user.groups.clear()
        User.objects.filter(pk=identity.user.pk).update(is_staff=False, is_superuser=False)


def _account_of(person: Person) -> User:
    known = StaffIdentity.objects.select_related("user").filter(issuer=person.issuer, subject=person.subject).first()
    groups = _groups_of(person)
    if not groups and SUPERUSERS not in person.groups:
        raise NotStaff
    user = known.user if known else _adopt(person) or _create(person)
    if not user.is_active:
        raise AccountClosed
    if known is None:
        StaffIdentity.objects.create(user=user, issuer=person.issuer, subject=person.subject)
    user.is_staff = True
    user.is_superuser = SUPERUSERS in person.groups
    user.email = person.email
    user.first_name = person.name[:MOST_NAME_CHARACTERS]
    user.save(update_fields=["is_staff", "is_superuser", "email", "first_name", "password"])
    user.groups.set(groups)
    return user


def _groups_of(person: Person) -> list[Group]:
    wanted = person.groups - {SUPERUSERS}
    found = list(Group.objects.filter(name__in=wanted))
    if missing := sorted(wanted - {group.name for group in found}):
        logger.error("ADMIN_OIDC_GROUPS names groups that do not exist", extra={"groups": missing})
    return found


def _adopt(person: Person) -> User | None:
    """Return the account that the person takes over, without its password."""
    if not person.email:
        return None
    found = list(User.objects.select_for_update().filter(email__iexact=person.email, is_staff=True)[:2])
    if len(found) != 1 or found[0].is_superuser or StaffIdentity.objects.filter(user=found[0]).exists():
        return None
    found[0].set_unusable_password()
    return found[0]


def _create(person: Person) -> User:
    return User.objects.create_user(_free_login(person), password=None)


def _free_login(person: Person) -> str:
    """Return a name for a new account that no account has. So a name never leads to the account of another person."""
    for wanted in (person.login, person.email):
        login = wanted[:MOST_LOGIN_CHARACTERS]
        if LOGIN_FORM.fullmatch(login) and not User.objects.filter(username__iexact=login).exists():
            return login
    base = next((wanted for wanted in (person.login, person.email) if LOGIN_FORM.fullmatch(wanted)), "staff")
    base = base[: MOST_LOGIN_CHARACTERS - 12]
    taken = set(User.objects.filter(username__istartswith=base).values_list("username", flat=True))
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"
