"""What stops the start."""


class EnvironmentProblem(Exception):
    """A variable is missing or malformed. The text names it."""
