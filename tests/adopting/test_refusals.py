"""What `migrate` refuses, with a sentence, before it changes anything."""

import psycopg
import pytest

from tests.adopting import predecessor
from tests.support.database import manage, run_command

pytestmark = pytest.mark.slow

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


def refusal(url: str, *arguments: str) -> str:
    result = run_command(url, *arguments)
    assert result.returncode == 1, result.stdout
    assert result.stderr.startswith("MigrationRefused: "), result.stderr
    return result.stderr


def test_a_database_of_an_older_revision_is_refused(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        connection.execute("ALTER TABLE conversations DROP COLUMN is_favorited")
        before = connection.execute(TABLES).fetchall()
        said = refusal(old_database, "migrate", "--fake-initial")
        assert "conversations.is_favorited is missing" in said
        assert "Nothing was changed" in said
        assert connection.execute(TABLES).fetchall() == before


def test_a_role_that_owns_no_table_is_refused(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        before = connection.execute(TABLES).fetchall()
        name = f"guest_of_{connection.info.dbname}"
        connection.execute(f"CREATE ROLE {name} LOGIN")
        try:
            connection.execute(f"GRANT ALL ON SCHEMA public TO {name}")
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
            said = refusal(old_database.replace("postgres@", f"{name}@", 1), "migrate", "--fake-initial")
            assert "does not own conversations and messages" in said
            assert connection.execute(TABLES).fetchall() == before
        finally:
            connection.execute(f"DROP OWNED BY {name}")
            connection.execute(f"DROP ROLE {name}")


def test_without_fake_initial_the_tables_are_left_alone(old_database: str) -> None:
    with psycopg.connect(old_database) as connection:
        before = connection.execute(TABLES).fetchall()
        assert "--fake-initial" in refusal(old_database, "migrate", "--verbosity=0")
        assert connection.execute(TABLES).fetchall() == before
        assert connection.execute("SELECT count(*) FROM conversations").fetchone() == (7,)


def test_the_predecessors_tables_are_never_dropped(old_database: str) -> None:
    with psycopg.connect(old_database) as connection:
        before = predecessor.snapshot(connection)
    manage(old_database, "migrate", "--fake-initial", "--verbosity=0")
    for target in ("forth", "back"):
        if target == "back":
            manage(old_database, "migrate", "conversations", "0001", "--verbosity=0")
        assert "can't be reversed" in refusal(old_database, "migrate", "conversations", "zero")
    with psycopg.connect(old_database) as connection:
        assert predecessor.snapshot(connection) == before
        predecessor.use(connection)


def test_a_database_that_cannot_hold_every_character_is_refused(old_database: str) -> None:
    name = f"{psycopg.conninfo.conninfo_to_dict(old_database)['dbname']}_latin"
    with psycopg.connect(old_database, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            url = psycopg.conninfo.make_conninfo(old_database, dbname=name)
            parts = psycopg.conninfo.conninfo_to_dict(url)
            said = refusal(f"postgresql://{parts['user']}@/{name}?host={parts['host']}", "migrate", "--verbosity=0")
            assert "encoding is LATIN1" in said
        finally:
            connection.execute(f"DROP DATABASE {name}")


def test_a_role_without_a_schema_to_create_in_is_told_so_in_one_line(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as connection:
        name = f"schemaless_{connection.info.dbname}"
        connection.execute(f"CREATE ROLE {name} LOGIN")
        connection.execute(f"ALTER ROLE {name} SET search_path = nowhere")
        try:
            result = run_command(old_database.replace("postgres@", f"{name}@", 1), "migrate", "--fake-initial")
        finally:
            connection.execute(f"DROP ROLE {name}")
    assert result.returncode == 1
    assert "may not create tables in any schema of its search_path" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_way_back_is_refused_before_its_first_step_while_there_are_anonymous_conversations(old_database: str) -> None:
    manage(old_database, "migrate", "--fake-initial", "--verbosity=0")
    with psycopg.connect(old_database, autocommit=True) as connection:
        connection.execute("INSERT INTO conversations (id, user_id) VALUES (gen_random_uuid(), NULL)")
        before = connection.execute(TABLES).fetchall()
        assert "prune_history --anonymous" in refusal(old_database, "migrate", "conversations", "0001")
        assert connection.execute(TABLES).fetchall() == before
        connection.execute("DELETE FROM conversations WHERE user_id IS NULL")
    manage(old_database, "migrate", "conversations", "0001", "--verbosity=0")
