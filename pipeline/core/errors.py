"""Errors meant for the user: one line that names what is wrong, where, and what to do."""


class UserError(Exception):
    """A problem that the user can solve. The command prints the message and exits with `exit_code`."""

    exit_code = 1


class UsageError(UserError):
    """The command line or the fleet file is wrong; the message names the key and the reason."""

    exit_code = 2


def one_line(error: BaseException) -> str:
    """Returns the last line of an error, with its type; errors from Ray's workers lose their stack traces."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return one_line(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    name = type(error).__name__
    return text if isinstance(error, UserError) else f"{name}: {text}" if text else name
