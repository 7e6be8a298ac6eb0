"""The events of a response, their numbers, and where a resumed stream goes on. Chunks of completions are in `chat`."""
