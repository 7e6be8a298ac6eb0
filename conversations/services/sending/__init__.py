"""Begin a reply: the context, the keys of repeated requests, the places, titles. What happens to it then is in `replies`."""
