"""DICOM files as the tests need them, with a marker in every text that a file can hold."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

MARKER = "ZQXMARKERJV"
TEXTS = {
    "PatientName": f"{MARKER}^A",
    "PatientID": MARKER,
    "PatientBirthDate": "19510203",
    "InstitutionName": MARKER,
    "StudyDescription": MARKER,
    "SeriesDescription": MARKER,
    "ReferringPhysicianName": MARKER,
    "AccessionNumber": MARKER,
    "ImageComments": MARKER * 20,
    "RescaleType": MARKER,
    "WindowCenterWidthExplanation": MARKER,
    "StudyInstanceUID": "1.2.3.4958372615",
    "SeriesInstanceUID": "1.2.3.4958372615.1",
    "SOPInstanceUID": "1.2.3.4958372615.2",
}
"""What must never be seen again, and where it stands."""
SECRETS = (MARKER, "19510203", "4958372615")


def shipped(name: str) -> Path:
    """A file that the wheel of pydicom holds; nothing is downloaded."""
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), name
    return Path(found)


def dicom(stored: NDArray[Any], bits: int | None = None, photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """A data set whose pixels are `stored`, (H, W) or (H, W, 3), of the type that they are allocated in."""
    dataset = Dataset()
    for keyword, text in TEXTS.items():
        setattr(dataset, keyword, text)
    block = dataset.private_block(0x0011, MARKER, create=True)
    block.add_new(0x01, "LO", MARKER)
    inner = Dataset()
    inner.PatientID = MARKER
    dataset.OtherPatientIDsSequence = Sequence([inner])
    allocated = 8 * stored.dtype.itemsize
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored = allocated, bits or allocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    content = stored.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian, frame: bytes | None = None) -> Path:
    """Write `dataset` as a file, its pixels as the compressed `frame` where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = MARKER
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.4958372615.3"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def noise(shape: tuple[int, ...], bits: int, signed: bool = False, seed: int = 0) -> NDArray[Any]:
    """Pixels of all values that `bits` can hold."""
    low = -(1 << (bits - 1)) if signed else 0
    kind = np.dtype(f"{'i' if signed else 'u'}{math.ceil(bits / 8)}")
    return np.random.default_rng(seed).integers(low, low + (1 << bits), shape).astype(kind)
