"""The views of /v1, one file per resource. How a turn begins is in `openai.asking`."""
