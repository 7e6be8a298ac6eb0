"""Read what changed since a cursor.

Principle: a change is told when its transaction is in the snapshot of the statement that reads and not in the cursor's. So a
transaction that commits late is told late, and never missed. The statement reads what changed, and how it is now, in one
snapshot. So each state of a conversation is told once: a page leaves out what changed again after its window, because the next
window tells it.

A page has the conversations of its window in the order of their ids. The window begins at the cursor's snapshot and ends at the
snapshot of the statement that read its first page.

If the history of commits was interrupted since the cursor's snapshot (see migration 0050), numbers from `cut` on were given out
again, so that snapshot says nothing about them. It is cut there. The user's newest change must still exist. If it does not, the
interruption lost something that was told, and the client must read everything again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from chatapi.database.connections import Runner
from chatapi.database.round_trips import Rows, read_together
from conversations.exceptions import CursorExpired
from conversations.known_times import ACTIVITY_TIME_SQL, CONVERSATION_TIME_SQL
from conversations.services.changes.cursors import Cursor
from conversations.services.changes.snapshots import Snapshot

# How long what changed is kept at least, and so how old a cursor may be.
KEPT_FOR = timedelta(days=30)
# The most changes that a page looks through, and one round for each user of all listeners.
MOST_EXAMINED = 10_000
MOST_PER_ROUND = 1_000
RUNNING = "running_message_id"

# What the server is, and where its history of commits is: two databases may hold the same rows, after a restore for example.
MOMENT_SQL = """
moment AS MATERIALIZED (
    SELECT pg_current_snapshot() AS now, extract(epoch FROM statement_timestamp())::bigint AS time,
           hashtextextended(
               (SELECT system_identifier FROM pg_control_system()) || '/' || (
                   SELECT oid FROM pg_database WHERE datname = current_database()
               ), 0
           ) & 9223372036854775807 AS place
), eras AS MATERIALIZED (
    SELECT id, number, began_in, EXISTS (SELECT FROM change_era_marks WHERE era_id = change_eras.id) AS is_marked
    FROM change_eras
), era AS (
    SELECT id FROM eras ORDER BY is_marked DESC, number DESC LIMIT 1
)
"""
NOW_SQL = f"""
WITH {MOMENT_SQL}
SELECT moment.now::text, moment.time, moment.place, era.id, (
    SELECT changed_in::text FROM conversation_changes
    WHERE user_id = %(user_id)s AND changed_in < pg_snapshot_xmax(moment.now) ORDER BY changed_in DESC LIMIT 1
)
FROM moment CROSS JOIN era
"""  # noqa: S608  # only constants go into it

# For some users at once, all from the same snapshot. One row without a user if there is nothing.
CHANGES_SQL = """
WITH {moment}, known AS (
    SELECT number, is_marked FROM eras WHERE id = %(era)s
), cut AS (
    SELECT eras.began_in FROM eras, known
    WHERE NOT known.is_marked AND eras.number > known.number ORDER BY eras.began_in LIMIT 1
), bounds AS MATERIALIZED (
    SELECT cut.began_in AS cut, least(pg_snapshot_xmin(%(since)s::pg_snapshot), cut.began_in) AS first,
           least(pg_snapshot_xmax(%(since)s::pg_snapshot), cut.began_in) AS fresh, pg_snapshot_xmax(moment.now) AS beyond,
           CASE WHEN %(until)s::pg_snapshot IS NULL THEN pg_snapshot_xmax(moment.now)
               ELSE least(pg_snapshot_xmax(%(until)s::pg_snapshot), cut.began_in) END AS until
    FROM moment LEFT JOIN cut ON true
)
SELECT moment.now::text, moment.time, moment.place, era.id, bounds.cut::text, EXISTS (SELECT FROM known) AND (
           %(newest)s::xid8 = '0'::xid8 OR EXISTS (
               SELECT FROM conversation_changes
               WHERE user_id = (%(users)s::uuid[])[1] AND changed_in = %(newest)s::xid8
                   AND (bounds.cut IS NULL OR changed_in < bounds.cut)
           )
       ),
       due.user_id, due.conversation_id, due.changes, due.is_full, due.last_fresh, shown.*
FROM moment CROSS JOIN era CROSS JOIN bounds LEFT JOIN LATERAL (
    SELECT listener.user_id, changed.*
    FROM unnest(%(users)s::uuid[]) AS listener (user_id) CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT found.conversation_id, array_agg(found.changed_in::text::bigint) AS changes,
                   sum(count(*) FILTER (WHERE found.changed_in >= bounds.fresh)) OVER () >= %(most)s::int AS is_full,
                   max(max(found.changed_in::text::bigint)) OVER () AS last_fresh,
                   bool_and(
                       %(until)s::pg_snapshot IS NULL
                       OR (pg_visible_in_snapshot(found.changed_in, %(until)s::pg_snapshot)
                           AND (bounds.cut IS NULL OR found.changed_in < bounds.cut))
                   ) AS is_due
            FROM (
                SELECT conversation_id, changed_in FROM conversation_changes
                WHERE user_id = listener.user_id AND changed_in >= bounds.first AND changed_in < bounds.fresh
                    AND NOT pg_visible_in_snapshot(changed_in, %(since)s::pg_snapshot)
                UNION ALL (
                    SELECT conversation_id, changed_in FROM conversation_changes
                    WHERE user_id = listener.user_id AND changed_in >= bounds.fresh AND changed_in < bounds.until
                    ORDER BY changed_in FETCH FIRST (%(most)s::int) ROWS WITH TIES
                ) UNION ALL (
                    SELECT conversation_id, changed_in FROM conversation_changes
                    WHERE user_id = listener.user_id AND changed_in >= bounds.until AND changed_in < bounds.beyond
                    ORDER BY changed_in LIMIT {examined}
                )
            ) AS found
            GROUP BY found.conversation_id
        ) AS grouped
        WHERE is_due AND (%(after)s::uuid IS NULL OR conversation_id > %(after)s::uuid)
        ORDER BY conversation_id LIMIT %(limit)s::int + 1
    ) AS changed
) AS due ON true LEFT JOIN LATERAL (
    SELECT (expires_at IS NULL OR expires_at > statement_timestamp()) AS is_there,
           (expires_at IS NULL AND is_listed) AS is_listed, {columns}
    FROM conversations WHERE conversations.id = due.conversation_id AND conversations.user_id = due.user_id LIMIT 1
) AS shown ON true
ORDER BY due.user_id, due.conversation_id
"""
RUNNING_SQL = f"""
(SELECT id FROM messages WHERE conversation_id = conversations.id AND status = 'streaming' LIMIT 1) AS {RUNNING}
"""  # noqa: S608
# What is read for these columns, where it is not the column itself.
COLUMNS_SQL = {
    RUNNING: RUNNING_SQL,
    "created_at": f"{CONVERSATION_TIME_SQL} AS created_at",
    "updated_at": f"{ACTIVITY_TIME_SQL} AS updated_at",
}
# The columns of CHANGES_SQL: of the moment, of what changed, and of the conversation before its own.
MOMENT_COLUMNS, CHANGE_COLUMNS, STATE_COLUMNS = 6, 5, 2


@dataclass(frozen=True, slots=True)
class Moment:
    """When a statement read, in the terms of a cursor."""

    now: Snapshot
    time: int
    place: int
    era: UUID
    # From here on, the snapshot that it began with does not count. None: all of it does.
    cut: int | None = None
    # Whether that snapshot is one of this history, and nothing of it is lost.
    is_continuous: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one conversation."""

    conversation_id: UUID
    # The transactions that changed it.
    changes: Sequence[int]
    # Its columns, or None if it is gone: deleted, in the trash, or expired.
    row: dict[str, Any] | None
    # False for temporary and unlisted conversations, which lists don't show: their changes are not told, only their end.
    is_told: bool


@dataclass(slots=True)
class UserChanges:
    """What changed of one user, in the order of ids. `is_full`: more changed than was looked through."""

    changes: list[Change] = field(default_factory=list)
    is_full: bool = False
    # The last change that was looked through.
    last: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    rows: list[dict[str, Any]]
    gone: list[UUID]
    next: Cursor
    has_more: bool


def begin(user_id: UUID) -> Cursor:
    """Return a cursor from which everything is told that commits from now on. One query."""
    ((rows),) = read_together((NOW_SQL, {"user_id": user_id}))
    now, moment, place, era, newest = rows[0]
    return Cursor(place, era, moment, int(newest or 0), Snapshot.parse(now))


def read_page(user_id: UUID, cursor: Cursor, limit: int, columns: Sequence[str]) -> Page:
    """Return what changed since a cursor, of at most `limit` conversations. One query. Raises `CursorExpired`."""
    # The first page of a window decides where it ends. The others look through all of it.
    most = MOST_EXAMINED if cursor.until is None else None
    values = _values([user_id], cursor.since, cursor.era, most=most, limit=limit)
    values |= {"newest": str(cursor.newest), "until": cursor.until and str(cursor.until), "after": cursor.after}
    (rows,) = read_together((_changes_sql(tuple(columns)), values))
    moment, found = _read(rows, columns)
    if moment.place != cursor.place or not moment.is_continuous or moment.time - cursor.issued_at > KEPT_FOR.total_seconds():
        raise CursorExpired
    return _page(cursor, moment, found.get(user_id, UserChanges()), limit)


def _page(cursor: Cursor, moment: Moment, found: UserChanges, limit: int) -> Page:
    since, until = cursor.since, cursor.until
    if moment.cut is not None:
        since, until = since.cut(moment.cut), until and until.cut(moment.cut)
    if until is None:
        until = moment.now.cut(found.last + 1) if found.is_full else moment.now
    told = found.changes[:limit]
    following = replace(
        cursor,
        era=moment.era,
        issued_at=moment.time,
        newest=max(cursor.newest, found.last),
        since=until,
        until=None,
        after=None,
    )
    is_cut = len(found.changes) > limit
    if is_cut:
        following = replace(following, since=since, until=until, after=told[-1].conversation_id)
    shown, gone = split(told)
    # A window that ends before the moment has another one behind it.
    return Page(shown, gone, following, is_cut or found.is_full or (cursor.until is not None and until != moment.now))


def split(changes: Sequence[Change]) -> tuple[list[dict[str, Any]], list[UUID]]:
    """Return the rows of the conversations that are there and told, and the ids of those that are gone."""
    shown = [change.row for change in changes if change.row is not None and change.is_told]
    return shown, [change.conversation_id for change in changes if change.row is None]


def read_round(
    users: Sequence[UUID], since: Snapshot, era: UUID, limit: int, columns: Sequence[str], run: Runner
) -> tuple[Moment, dict[UUID, UserChanges]]:
    """Return what changed for these users since a snapshot. One statement. `is_full` is also for more than `limit`."""
    values = _values(users, since, era, most=MOST_PER_ROUND, limit=limit)
    (rows,) = run((_changes_sql(tuple(columns)), values | {"newest": "0", "until": None, "after": None}))
    moment, found = _read(rows, columns)
    for one in found.values():
        one.is_full = one.is_full or len(one.changes) > limit
    return moment, found


def _values(users: Sequence[UUID], since: Snapshot, era: UUID, *, most: int | None, limit: int) -> dict[str, Any]:
    # An array as text is made and read faster than one of objects.
    return {"users": f"{{{','.join(map(str, users))}}}", "since": str(since), "era": era, "most": most, "limit": limit}


def _read(rows: Rows, columns: Sequence[str]) -> tuple[Moment, dict[UUID, UserChanges]]:
    now, at, place, era, cut, is_continuous = rows[0][:MOMENT_COLUMNS]
    moment = Moment(Snapshot.parse(now), at, place, era, None if cut is None else int(cut), is_continuous)
    found: dict[UUID, UserChanges] = {}
    for row in rows:
        user_id, conversation_id, changes, is_full, last = row[MOMENT_COLUMNS : MOMENT_COLUMNS + CHANGE_COLUMNS]
        if user_id is None:
            break
        is_there, is_listed, *values = row[MOMENT_COLUMNS + CHANGE_COLUMNS :]
        shown = dict(zip(columns, values, strict=True)) if is_there else None
        theirs = found.setdefault(user_id, UserChanges())
        theirs.is_full, theirs.last = bool(is_full), last
        theirs.changes.append(Change(conversation_id, changes, shown, bool(is_listed)))
    return moment, found


@cache
def _changes_sql(columns: tuple[str, ...]) -> str:
    """Return the statement for these columns of conversations, one of which may be RUNNING."""
    names = ", ".join(COLUMNS_SQL.get(column, column) for column in columns)
    return CHANGES_SQL.format(moment=MOMENT_SQL, columns=names, examined=MOST_EXAMINED)
