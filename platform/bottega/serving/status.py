"""What `/v1/status` says, as server and client type it."""

import msgspec

from bottega.serving.deployments import RoleStatus


class UseCaseStatus(msgspec.Struct, frozen=True):
    """One live use case: its champion, what it answered, the time by stage (count, p50_us, p99_us), all its roles."""

    model_version: int
    requests: int
    rows: int
    errors: int
    stages: dict[str, dict[str, float]]
    roles: list[RoleStatus] = []

    def role(self, role: str) -> RoleStatus | None:
        """The version in a role; None where there is none."""
        return next((status for status in self.roles if status.role == role), None)


class Status(msgspec.Struct, frozen=True):
    """`prediction_log` counts rows written, waiting and dropped; `replica` is which of several processes answers."""

    pid: int
    started_at: str
    uptime_s: float
    ready: bool
    usecases: dict[str, UseCaseStatus]
    failures: dict[str, str]
    prediction_log: dict[str, int]
    server: str = "bottega"
    server_version: str = ""
    replica: int | None = None
