"""The exception tree: each error says what, which value, the rule and the next step.

Every error that a person can cause carries the HTTP status for the server and the exit code for the command line, so
that one `raise` is right in both places.
"""


class BottegaError(Exception):
    """Base of all errors that Bottega raises on purpose.

    >>> str(InvalidInput("Zone 999 is unknown.", next_step="Zones are 1 to 265."))
    'Zone 999 is unknown. Zones are 1 to 265.'
    """

    http_status = 500
    exit_code = 1

    def __init__(self, what: str, *, next_step: str = "") -> None:
        self.what = what
        self.next_step = next_step
        super().__init__(f"{what} {next_step}".strip())


class InvalidInput(BottegaError):
    """A value that the caller gave breaks a stated rule."""

    http_status = 400
    exit_code = 2


class NotFound(InvalidInput):
    """The name or reference that the caller gave does not exist."""

    http_status = 404


class InvalidData(InvalidInput):
    """A file or table is not what it claims to be: unreadable, or a column is missing or of another type."""

    http_status = 422


class TooLarge(InvalidInput):
    """The request is larger than the stated limit."""

    http_status = 413


class Unsupported(InvalidInput):
    """A well-formed request for something that this version does not do."""

    http_status = 501


class Conflict(BottegaError):
    """The state of the workspace does not allow the action, for example a version that already exists."""

    http_status = 409


class GateFailed(BottegaError):
    """The candidate does not beat the champion or the baseline on the held-back period."""

    http_status = 409


class IntegrityError(BottegaError):
    """A checksum, signature or parity check failed: the file is not used."""

    http_status = 500


class Unavailable(BottegaError):
    """A process or service that the action needs does not answer, or its port is taken."""

    http_status = 503


class StorageError(BottegaError):
    """The workspace cannot be written, or a newer Bottega wrote it."""

    http_status = 507
