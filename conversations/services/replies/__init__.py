"""A reply from its first token on: saving, following, stopping, rating, choosing a version. How it begins is in `sending`."""
