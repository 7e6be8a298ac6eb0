"""The statements that save running replies: what they have said since the last time, all in one statement."""

# A reply may be marked `interrupted` while its generation continues (see `ending`). But a reply with an inference time was
# ended by its generation; a late checkpoint must not overwrite its text with an older one. A continued reply has that time,
# and a heartbeat until the continuation ends. An earlier generation of it has nothing more to say.
STILL_RUNS = """
((messages.status = 'streaming' OR (messages.status = 'interrupted'
    AND (messages.inference_time_ms IS NULL OR messages.heartbeat_at IS NOT NULL)))
 AND coalesce(messages.continuations, 0) = draft.continuation)
"""
_IS_NEW = (
    "(draft.content IS NOT NULL OR draft.reasoning IS NOT NULL OR messages.is_followed IS DISTINCT FROM draft.is_followed)"
)
_DRAFT_CTE = """
draft AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(texts)s::text[], %(thoughts)s::text[], %(are_followed)s::boolean[],
                         %(continuations)s::int[], %(thoughts_before)s::int[])
        AS draft (id, content, reasoning, is_followed, continuation, reasoning_before_text)
)
"""
_SET_DRAFT = """
UPDATE messages
SET content = coalesce(draft.content, messages.content),
    reasoning = coalesce(draft.reasoning, messages.reasoning), is_followed = draft.is_followed,
    reasoning_before_text = draft.reasoning_before_text
"""

_NO_WAIT = "set_config('synchronous_commit', 'off', true)"

# Both return every reply that runs, whether it is to be stopped, and whether its draft waits.
#
# A reply that says nothing new is only read. The statement waits a moment for locked rows, and then fails as a whole.
# Neither waits until its commit is on the disk or a standby: a draft that is lost comes again, with the end at the latest.
CHECKPOINT_SQL = f"""
WITH {_DRAFT_CTE}, patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', '250ms', true) AS lock_timeout, {_NO_WAIT} AS no_wait
), saved AS (
    {_SET_DRAFT}
    FROM draft CROSS JOIN patience
    WHERE messages.id = draft.id AND {STILL_RUNS} AND {_IS_NEW} AND (patience.lock_timeout, patience.no_wait) IS NOT NULL
    RETURNING messages.id, messages.stop_requested AS stop_requested
), rest AS MATERIALIZED (
    SELECT draft.* FROM draft WHERE NOT EXISTS (SELECT FROM saved WHERE saved.id = draft.id)
)
SELECT saved.id, saved.stop_requested, false FROM saved
UNION ALL
SELECT messages.id, messages.stop_requested AS stop_requested, draft.content IS NOT NULL OR draft.reasoning IS NOT NULL
FROM rest AS draft JOIN messages ON messages.id = draft.id WHERE {STILL_RUNS}
"""  # noqa: S608

# The same after that failure: a row that somebody has locked is skipped and comes with the next checkpoint, because one locked
# row must not stop the others. Locking the rows first makes it a fifth slower.
CHECKPOINT_FREE_SQL = f"""
WITH {_DRAFT_CTE}, running AS (
    SELECT messages.id, messages.stop_requested, {_IS_NEW} AS is_new
    FROM messages JOIN draft ON draft.id = messages.id WHERE {STILL_RUNS}
), haste AS MATERIALIZED (SELECT {_NO_WAIT} AS no_wait), free AS (
    SELECT messages.id FROM messages JOIN running ON running.id = messages.id AND running.is_new
    JOIN draft ON draft.id = messages.id
    WHERE {STILL_RUNS}
    FOR NO KEY UPDATE OF messages SKIP LOCKED
), saved AS (
    {_SET_DRAFT}
    FROM free JOIN draft ON draft.id = free.id CROSS JOIN haste
    WHERE messages.id = free.id AND haste.no_wait IS NOT NULL
    RETURNING messages.id
)
SELECT running.id, running.stop_requested, running.is_new AND saved.id IS NULL
FROM running LEFT JOIN saved ON saved.id = running.id
"""  # noqa: S608
