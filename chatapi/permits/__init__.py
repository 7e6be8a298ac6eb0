"""How many things may be done at once: the one primitive for that, and rules of sharing. Not how often (`limits`)."""
