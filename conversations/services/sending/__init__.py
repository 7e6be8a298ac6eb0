"""Begin a reply: context, keys of repeated requests, permits, the queue, titles. The rest of its life is in `replies`."""
