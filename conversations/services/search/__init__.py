"""Search in a user's own messages. Staff have a search of their own in the admin."""
