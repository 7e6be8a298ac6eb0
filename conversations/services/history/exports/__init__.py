"""Write history out: for operators, for a user, and all that is stored about one user. Nothing here changes a row."""
