"""Who is calling: bearer tokens, the auth service's verdicts, permissions, passwords of staff. Not how much a caller may do."""
