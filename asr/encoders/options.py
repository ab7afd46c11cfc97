"""How encoders refuse a wrong option: as an `InputError`, which the command line prints without a traceback."""

import contextlib
from collections.abc import Iterator

from asr.errors import InputError


@contextlib.contextmanager
def option_errors() -> Iterator[None]:
    """Turn the `ValueError` of a check into an `InputError` with the same words. Usable as a decorator.

    >>> with option_errors():
    ...     raise ValueError("hidden_size must be an integer of at least 1, got 0")
    Traceback (most recent call last):
    asr.errors.InputError: hidden_size must be an integer of at least 1, got 0
    """
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
