"""What makes migrations safe on a live table: locks, guards, index builds. Not the migrations, and nothing for requests."""
