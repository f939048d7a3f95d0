"""What tests do where a program is missing that they run."""

import os
from typing import NoReturn

import pytest

__all__ = ["absent"]


def absent(why: str) -> NoReturn:
    """Skip the test; fail it in CI, which installs every program."""
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
