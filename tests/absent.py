"""What tests do where a program is missing that they run."""

import os
from typing import NoReturn

import pytest

__all__ = ["absent"]


def absent(why: str) -> NoReturn:
    """Skip the test; fail it where OVERREAD_ALL_PROGRAMS is set, as in CI, which installs them."""
    if os.environ.get("OVERREAD_ALL_PROGRAMS"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
