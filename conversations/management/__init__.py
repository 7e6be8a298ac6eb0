"""Commands for operators, and what they share. What they do is in the services."""
