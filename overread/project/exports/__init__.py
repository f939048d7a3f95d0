"""The cleaned set with the history of every label: as a table, as folders of images, or for Label Studio."""

from overread.project.exports.label_studio import LOCAL_FILES
from overread.project.exports.writing import config_file, export_labels

__all__ = ["LOCAL_FILES", "config_file", "export_labels"]
