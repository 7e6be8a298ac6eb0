"""What the service needs beside it on a developer's machine: PostgreSQL, an auth service and a model. Never in production."""
