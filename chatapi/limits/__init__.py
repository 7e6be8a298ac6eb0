"""How much a caller may do: rates per user and per address. Not who the caller is, and not what holds the counts."""
