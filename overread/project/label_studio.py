"""What both directions share of Label Studio: its labelling configuration, and what the fields in it are called."""

from collections.abc import Sequence
from xml.etree import ElementTree

from overread.errors import DataError
from overread.project.folder import CANNOT_TELL

__all__ = ["COMMENT", "DECIDES", "DECISION", "IMAGE", "ITEM", "LABEL", "READER", "labelling_config"]

IMAGE = "image"
ITEM = "item"
"""Of a task's data: the id of our item.  Not `id`: that is the number of the task in what Label Studio exports."""
LABEL = "label"
DECIDES, DECISION = "decides", "above all others"
COMMENT = "comment"
READER = "reader"
"""Who read, where that is no user of Label Studio."""


def labelling_config(classes: Sequence[str]) -> str:
    """The XML of a project in Label Studio: the image, its classes and "cannot tell", and what else a read has.

    DataError for a class whose name XML cannot hold.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=IMAGE, value=f"${IMAGE}", zoom="true")
    about = {"toName": IMAGE}
    choices = ElementTree.SubElement(view, "Choices", {"name": LABEL, **about, "choice": "single", "required": "true"})
    for name in (*classes, CANNOT_TELL):
        if any(not _in_xml(letter) for letter in name):
            raise DataError(f"the class {name!r} has characters that no XML can hold: export a table", [name])
        ElementTree.SubElement(choices, "Choice", value=name)
    decides = ElementTree.SubElement(view, "Choices", {"name": DECIDES, **about, "choice": "multiple"})
    ElementTree.SubElement(decides, "Choice", value=DECISION)
    for name, hint in ((COMMENT, "Comment"), (READER, "Who read, if somebody else")):
        ElementTree.SubElement(view, "TextArea", {"name": name, **about, "placeholder": hint, "maxSubmissions": "1"})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _in_xml(letter: str) -> bool:
    return letter in "\t\n\r" or " " <= letter <= "\ud7ff" or "\ue000" <= letter <= "\ufffd" or letter > "\uffff"
