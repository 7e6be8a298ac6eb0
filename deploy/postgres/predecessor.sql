-- What the predecessor sees while both services run: of each conversation the active branch, and no temporary chat or trash.
-- Optional; see docs/adopting.md, "While both run". Run it as the owner of the tables, and again after each `migrate`:
--   psql "$DATABASE_URL" --set ON_ERROR_STOP=1 --file deploy/postgres/predecessor.sql
-- To undo it: ALTER ROLE predecessor RESET search_path; DROP SCHEMA predecessor CASCADE;
-- The predecessor must sign in with the role `predecessor`, which may do what the owner may: CREATE ROLE predecessor LOGIN IN ROLE …

CREATE SCHEMA IF NOT EXISTS predecessor;

CREATE OR REPLACE VIEW predecessor.messages AS
SELECT id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at
FROM public.messages WHERE is_active;

CREATE OR REPLACE VIEW predecessor.conversations AS
SELECT id, user_id, title, model_tag, created_at, updated_at, is_favorited
FROM public.conversations WHERE deleted_at IS NULL AND expires_at IS NULL;

GRANT USAGE ON SCHEMA predecessor TO predecessor;
GRANT SELECT, INSERT, UPDATE, DELETE ON predecessor.messages, predecessor.conversations TO predecessor;
ALTER ROLE predecessor SET search_path = predecessor, public;

-- The triggers mean the tables, whoever writes.
DO $$
DECLARE
    called regprocedure;
BEGIN
    FOR called IN
        SELECT DISTINCT tgfoid::regprocedure FROM pg_trigger
        WHERE tgrelid IN ('public.messages'::regclass, 'public.conversations'::regclass) AND NOT tgisinternal
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = public, pg_temp', called);
    END LOOP;
END $$;
