"""The OpenAI surface: /v1, as OpenAI's clients know it. Chat completions are in `chat`."""
