"""The commands of docs/adopting.md, run in their order on a database of the predecessor's."""

import re

import psycopg

from devstack.folder import PROJECT
from tests.adopting import predecessor
from tests.support.database import manage

COMMAND = re.compile(r"^ *\.venv/bin/python manage\.py (.+)$", re.MULTILINE)
DROPS = re.compile(r"^ *```sql\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def test_the_commands_do_what_the_page_says(old_database: str) -> None:
    page = (PROJECT / "docs" / "adopting.md").read_text()
    commands = [command.split() for block in BLOCK.findall(page) for command in COMMAND.findall(block)]
    assert [command[0] for command in commands] == ["migrate", "correct_activity", "migrate"]
    with psycopg.connect(old_database) as connection:
        messages = predecessor.snapshot(connection)["messages"]
    for command in commands:
        manage(old_database, *command)
        with psycopg.connect(old_database) as connection:
            predecessor.use(connection)
            connection.rollback()
            assert predecessor.snapshot(connection)["messages"] == messages
    (drop,) = DROPS.findall(page)
    with psycopg.connect(old_database) as connection:
        connection.execute(drop)
        assert set(connection.execute(TABLES).fetchall()) == {("users",), ("conversations",), ("messages",)}
