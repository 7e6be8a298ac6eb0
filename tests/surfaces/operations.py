"""The operations that docs/openapi.yaml describes."""

from dataclasses import dataclass

import yaml

from devstack.folder import PROJECT


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    needs_token: bool


def read_operations() -> list[Operation]:
    schema = yaml.load((PROJECT / "docs" / "openapi.yaml").read_text(), yaml.CSafeLoader)
    return [
        Operation(
            id=operation["operationId"],
            method=method.upper(),
            path=path,
            # An empty list and an empty alternative both mean that no token is needed.
            needs_token=bool(operation.get("security")) and {} not in operation["security"],
        )
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if method in ("get", "put", "post", "delete", "patch", "head", "options", "trace")
    ]


OPERATIONS = read_operations()
