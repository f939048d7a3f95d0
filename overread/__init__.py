"""overread: learn from medical image sets with wrong labels, and spend expert reads where they help most."""

from importlib.metadata import version

__version__ = version("overread")
__all__ = ["__version__"]
