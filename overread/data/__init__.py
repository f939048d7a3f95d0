"""Labelled image sets: formats, checks, the cache of decoded images, and the arrays that the rest works on."""

from overread.data.dataset import Dataset, load_dataset

__all__ = ["Dataset", "load_dataset"]
