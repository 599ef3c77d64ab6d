"""Errors meant for the user: one clear line that names what is wrong, where, and what to do."""


class UserError(Exception):
    """Something the user can mend. `exit_code` is the command's: 2 for the command line or YAML, else 1."""

    exit_code = 1


class UsageError(UserError):
    """The command line or the fleet file is wrong; the message names the key and the reason."""

    exit_code = 2


def one_line(error: BaseException) -> str:
    """The last, most telling line of an error, without the stack traces that remote errors carry."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return one_line(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    name = type(error).__name__
    return text if isinstance(error, UserError) else f"{name}: {text}" if text else name
