"""Reads from elsewhere: tables that people filled in, and what was said in Label Studio."""

from overread.project.imports.reading_in import Imported, import_reads
from overread.project.imports.taking_back import take_back_reads

__all__ = ["Imported", "import_reads", "take_back_reads"]
