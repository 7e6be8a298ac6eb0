"""Count what a turn and its reply used in functions of the database, whose statements PostgreSQL plans once per session.

As parts of the statements that save a turn and its end, they cost half as much as those.
"""

from django.db import migrations

# What a model used, as `services.usage.model_totals` describes it.
ADD_TO_MODEL = """
CREATE FUNCTION add_to_model(
    totals jsonb, of_model text, more_replies bigint, more_tokens bigint, more_prompt_tokens bigint, more_time_ms bigint,
    more_unmeasured bigint
) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    former jsonb := coalesce(totals -> of_model, '[0, 0, 0, 0, 0]');
BEGIN
    RETURN coalesce(totals, '{}') || jsonb_build_object(of_model, jsonb_build_array(
        (former ->> 0)::bigint + more_replies, (former ->> 1)::bigint + more_tokens,
        (former ->> 2)::bigint + more_prompt_tokens, (former ->> 3)::bigint + more_time_ms,
        (former ->> 4)::bigint + more_unmeasured
    ));
END $$
"""
ADD_SQL = """
UPDATE usage_totals SET messages = messages + more_messages, replies = replies + more_replies,
        tokens = tokens + more_tokens, prompt_tokens = prompt_tokens + more_prompt_tokens,
        inference_time_ms = inference_time_ms + more_time_ms,
        by_model = CASE WHEN of_model IS NULL THEN by_model ELSE add_to_model(
            by_model, of_model, model_replies, more_tokens, more_prompt_tokens, more_time_ms, model_unmeasured
        ) END
"""
# Waits for no lock on the row, as `services.usage.totals` explains. Returns what it could not count, in the order that is
# given there.
#
# The first statement is the usual case. It finds nothing where the row is locked, or was changed after the statement began:
# the next statement sees the row as it is then.
COUNT_USAGE = f"""
CREATE FUNCTION count_usage(
    of_user uuid, quarter timestamptz, more_messages bigint, more_replies bigint, more_tokens bigint, more_prompt_tokens bigint,
    more_time_ms bigint, of_model text, model_replies bigint, model_unmeasured bigint
) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    IF of_user IS NULL THEN
        RETURN NULL;
    END IF;
    {ADD_SQL} WHERE ctid = (
        SELECT ctid FROM usage_totals WHERE user_id = of_user AND bucket = quarter FOR NO KEY UPDATE SKIP LOCKED
    );
    IF FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM usage_totals WHERE user_id = of_user AND bucket = quarter FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        {ADD_SQL} WHERE user_id = of_user AND bucket = quarter;
    ELSE
        INSERT INTO usage_totals (user_id, bucket, messages, replies, tokens, prompt_tokens, inference_time_ms, by_model)
        VALUES (of_user, quarter, more_messages, more_replies, more_tokens, more_prompt_tokens, more_time_ms,
            CASE WHEN of_model IS NOT NULL THEN add_to_model(
                NULL, of_model, model_replies, more_tokens, more_prompt_tokens, more_time_ms, model_unmeasured
            ) END)
        ON CONFLICT (user_id, bucket) DO NOTHING;
    END IF;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN ARRAY[of_user::text, quarter::text, more_messages::text, more_replies::text, more_tokens::text,
        more_prompt_tokens::text, more_time_ms::text, of_model, model_replies::text, more_tokens::text,
        more_prompt_tokens::text, more_time_ms::text, model_unmeasured::text];
END $$
"""  # noqa: S608  # a constant
DROP = [
    "DROP FUNCTION count_usage(uuid, timestamptz, bigint, bigint, bigint, bigint, bigint, text, bigint, bigint)",
    "DROP FUNCTION add_to_model(jsonb, text, bigint, bigint, bigint, bigint, bigint)",
]


class Migration(migrations.Migration):
    dependencies = [("conversations", "0058_short_conditions")]

    operations = [migrations.RunSQL(sql=[ADD_TO_MODEL, COUNT_USAGE], reverse_sql=[*DROP])]
