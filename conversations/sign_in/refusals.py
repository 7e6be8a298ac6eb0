"""Why somebody is not signed in. Each has a sentence for the person and a code for the log, without anything internal."""


class SignInRefused(Exception):
    """A sign-in that goes no further."""

    def __init__(self, code: str, reason: str, status: int = 403) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.status = status


class ProviderUnavailable(SignInRefused):
    """The identity provider can't be used at the moment. `code` says for the log what it did."""

    def __init__(self, code: str) -> None:
        super().__init__(code, "The sign-in service does not answer as it should. Try again in a moment.", 503)


class TokenRefused(SignInRefused):
    """What the provider sent is not the proof that was asked for."""

    def __init__(self, code: str) -> None:
        super().__init__(code, "The answer of the sign-in service could not be verified. Sign in again.", 403)
