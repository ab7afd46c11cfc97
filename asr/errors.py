"""The one exception that command lines print without a traceback."""


class InputError(ValueError):
    """Something given by the user cannot be used.

    The message names the value, the limit or expectation it misses, and where it came from (file, line,
    utterance id or option). Commands print it after `error: ` and exit with code 1.
    """
