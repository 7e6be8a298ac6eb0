"""Who is calling: bearer tokens, the auth service's verdicts. Not how much a caller may do, and not how staff sign in."""
