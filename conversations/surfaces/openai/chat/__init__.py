"""Chat completions: their bodies and chunks. How a turn begins is the same as for responses, see `openai.asking`."""
