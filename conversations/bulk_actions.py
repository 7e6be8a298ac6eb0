"""What a user can do to many conversations at once, and how many ids one request may name."""

from typing import Literal

Action = Literal["archive", "unarchive", "delete", "restore", "tag", "untag"]
TAG_ACTIONS = ("tag", "untag")
MOST_IDS = 200
