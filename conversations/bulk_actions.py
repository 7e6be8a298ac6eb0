"""What a user can do to many conversations at once, and to how many of them by name."""

TAG_ACTIONS = ("tag", "untag")
ACTIONS = ("archive", "unarchive", "delete", "restore", *TAG_ACTIONS)
MOST_IDS = 200
