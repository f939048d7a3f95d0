"""Reads from elsewhere: tables that people filled in, and what was said in Label Studio."""

from overread.project.imports.reading_in import Imported, import_reads

__all__ = ["Imported", "import_reads"]
