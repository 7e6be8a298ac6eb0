"""The limits of the service, each declared where it is enforced: permits and rates. docs/operating.md lists them all."""

from dataclasses import dataclass

from chatapi.service_error import ServiceError


@dataclass(frozen=True, slots=True)
class Limit:
    """What is limited, for whom, and how a request beyond it is refused. docs/operating.md lists all limits in these words."""

    what: str
    per: str
    refusal: type[ServiceError]
    retry_after_s: int | None = None
    # The environment variables that set it.
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        LIMITS[self.what] = self

    def refuse(self) -> ServiceError:
        """Return the refusal, to raise it or to answer with it."""
        return self.refusal(retry_after_s=self.retry_after_s)


LIMITS: dict[str, Limit] = {}
