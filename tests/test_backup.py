"""The commands of docs/deploying.md for backup and restore, on a real database."""

import re
import subprocess
from pathlib import Path

from devstack.folder import PROJECT
from devstack.postgres import programs_folder
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import empty_database
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

PAGE = (PROJECT / "docs" / "deploying.md").read_text()


def run_documented(program: str, database_url: str, folder: Path) -> None:
    """Run the line of the page that starts with this program."""
    (line,) = re.findall(rf"^({program} .*?)(?:\s+#.*)?$", PAGE, re.MULTILINE)
    words = line.replace('"$DATABASE_URL"', database_url).replace("chat.dump", str(folder / "chat.dump")).split()
    subprocess.run([programs_folder() / words[0], *words[1:]], capture_output=True, text=True, check=True)


def test_a_restored_backup_has_the_history_and_takes_new_messages(
    service: Server, database_url: str, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream, tmp_path: Path
) -> None:
    client = Client(service.port, make_token())
    conversation = client.create_conversation(title="Kept")
    client.ask(conversation, "before the backup").close()
    before = client.conversation(conversation)
    run_documented("pg_dump", database_url, tmp_path)
    client.ask(conversation, "after the backup").close()
    with empty_database() as restored:
        run_documented("pg_restore", restored, tmp_path)
        with Server(database_url=restored, auth_url=auth_of_session.url, upstream_url=upstream_of_session.url) as server:
            again = client.at(server.port)
            assert again.conversation(conversation) == before
            assert again.ask(conversation, "go on").text == "go on"
            client.close()
