"""What a user can do to many conversations at once, and to how many of them by name."""

from typing import Literal

Action = Literal["archive", "unarchive", "delete", "restore", "tag", "untag"]
TAG_ACTIONS = ("tag", "untag")
MOST_IDS = 200
