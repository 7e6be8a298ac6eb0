"""The two caches, and the counting that both can do. Not what is kept in them."""
