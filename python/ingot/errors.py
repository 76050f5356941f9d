"""What Ingot raises: one small hierarchy below IngotError, with the messages that the program gives.

`code` is the name of the kind of error ("invalid argument", "not found", ...), `field` the name of the field at fault,
or "" where none is.
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "DeadlineExceeded",
    "IngotError",
    "InternalError",
    "InvalidArgument",
    "InvalidFile",
    "NotFound",
    "ProgramError",
    "ResourceExhausted",
    "SystemFailure",
    "TooLong",
    "Unavailable",
    "Unsupported",
]


class IngotError(Exception):
    """The base of all errors of Ingot."""

    def __init__(self, message: str, code: str = "", field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (str(self), self.code, self.field)


class InvalidArgument(IngotError, ValueError):
    """A value is out of its range, or of the wrong kind."""


class TooLong(InvalidArgument):
    """Prompt and answer exceed the context."""


class NotFound(IngotError, LookupError):
    """There is no such model, file or session."""


class InvalidFile(IngotError, ValueError):
    """The contents of a file contradict themselves or its format."""


class Unsupported(IngotError, NotImplementedError):
    """What is asked for is valid, but Ingot cannot do it."""


class ResourceExhausted(IngotError, MemoryError):
    """Memory, blocks of the KV cache or slots do not suffice."""


class Conflict(IngotError, RuntimeError):
    """The session or the file is in use."""


class DeadlineExceeded(IngotError, TimeoutError):
    """A request's `timeout` has passed."""


class Unavailable(IngotError, RuntimeError):
    """The pipeline is closed, or this process was forked from the one that loaded the model."""


class SystemFailure(IngotError):
    """The operating system refused something."""


class InternalError(IngotError, RuntimeError):
    """A bug of Ingot's."""


class ProgramError(IngotError, RuntimeError):
    """The `ingot` program, or a server, ended with an error."""


_CLASSES: dict[str, type[IngotError]] = {
    "invalid argument": InvalidArgument,
    "not found": NotFound,
    "corrupt": InvalidFile,
    "unsupported": Unsupported,
    "too long": TooLong,
    "resource exhausted": ResourceExhausted,
    "quota exceeded": ResourceExhausted,
    "conflict": Conflict,
    "deadline exceeded": DeadlineExceeded,
    "unavailable": Unavailable,
    "io": SystemFailure,
}


def make(code: str, message: str, field: str = "") -> IngotError:
    """The exception for an error of the engine's."""
    return _CLASSES.get(code, InternalError)(message, code, field)
