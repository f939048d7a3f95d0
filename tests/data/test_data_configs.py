"""The committed configurations read miniature copies of the published sets in their official layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_builders import save_image, write_table

import overread
from overread.config import load_config
from overread.data import Dataset, load_dataset

CONFIGS = Path(overread.__file__).parent / "configs"
RNG = np.random.default_rng(0)


def load(name: str, root: Path, moved: dict[str, str], **keys: Any) -> Dataset:
    """Load by the committed file; only where the files are, and their size, differs."""
    paths = [f"data.{key}={root / place}" for key, place in moved.items()]
    more = [f"data.{key}={value}" for key, value in {"cache": root / "cache", "image_size": 16, **keys}.items()]
    return load_dataset(load_config(CONFIGS / f"{name}.yaml", [*paths, *more]).data, seed=0)


def picture(path: Path, height: int = 20, width: int = 24) -> None:
    save_image(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8), path)


def test_every_committed_configuration_has_a_miniature() -> None:
    here = Path(__file__).read_text()
    for path in CONFIGS.glob("*.yaml"):
        assert f'load("{path.stem}"' in here or f'load(\n        "{path.stem}"' in here, path.name


def test_isic_2019(tmp_path: Path) -> None:
    classes = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"]
    truth, meta = [], []
    for i in range(96):
        name = f"ISIC_{i:07d}" + ("_downsampled" if i % 7 == 0 else "")
        picture(tmp_path / "ISIC_2019_Training_Input" / f"{name}.jpg", 20 + i % 3)
        truth.append([name, *(1.0 if k == i % 8 else 0.0 for k in range(9))])
        # Two images of a lesion; one lesion in six is not known.
        meta.append([name, 55.0, "anterior torso", f"BCN_{i // 16:04d}{i % 8}" if i % 6 else "", "female"])
    (tmp_path / "ISIC_2019_Training_Input" / "LICENSE.txt").write_text("CC BY-NC 4.0")
    write_table(tmp_path / "ISIC_2019_Training_GroundTruth.csv", ["image", *classes, "UNK"], truth)
    header = ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]
    write_table(tmp_path / "ISIC_2019_Training_Metadata.csv", header, meta)
    loaded = load(
        "isic2019",
        tmp_path,
        {
            "path": "ISIC_2019_Training_GroundTruth.csv",
            "image_root": "ISIC_2019_Training_Input",
            "metadata": "ISIC_2019_Training_Metadata.csv",
        },
    )
    assert loaded.class_names == tuple(classes)
    assert loaded.images.shape == (96, 16, 16, 3)
    number = [int(name[5:12]) for name in loaded.ids]
    np.testing.assert_array_equal(loaded.reference, np.array(number) % 8)
    assert loaded.groups is not None
    known = [i for i, n in enumerate(number) if n % 6]
    assert loaded.groups[known].tolist() == [f"BCN_{number[i] // 16:04d}{number[i] % 8}" for i in known]
    for group in set(loaded.groups.tolist()):
        assert len(set(loaded.split[loaded.groups == group].tolist())) == 1
    unknown = [loaded.groups[i] for i, n in enumerate(number) if n % 6 == 0]
    assert len(set(unknown)) == len(unknown) == 16


def test_nct_crc_he_100k(tmp_path: Path) -> None:
    classes = ["ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"]
    for name in classes:
        for i in range(200):
            picture(tmp_path / "NCT-CRC-HE-100K" / name / f"{name}-{i:04d}.tif", 6, 6)
        for i in range(3):
            picture(tmp_path / "CRC-VAL-HE-7K" / name / f"{name}-TCGA-{i:04d}.tif", 6, 6)
    loaded = load("nct_crc_he_100k", tmp_path, {"path": "NCT-CRC-HE-100K", "test_path": "CRC-VAL-HE-7K"}, image_size=8)
    assert loaded.class_names == tuple(classes)
    counts = np.bincount(loaded.reference[loaded.positions("train")])
    assert counts.tolist() == [round(200 * 100 ** (-k / 8)) for k in range(9)]
    assert np.bincount(loaded.reference[loaded.positions("test")]).tolist() == [3] * 9
    assert len(loaded.positions("val")) == 0
    assert all("TCGA" in loaded.ids[i] for i in loaded.positions("test"))


def test_aptos_2019(tmp_path: Path) -> None:
    rows = []
    for i in range(60):
        picture(tmp_path / "train_images" / f"{i:012x}.png", 20, 30 + i % 2)
        rows.append([f"{i:012x}", i % 5])
    # Names that spreadsheets would take for numbers stay names: 00e345 is no 0.
    picture(tmp_path / "train_images" / "0000000e0345.png")
    write_table(tmp_path / "train.csv", ["id_code", "diagnosis"], [*rows, ["0000000e0345", 4]])
    loaded = load("aptos2019", tmp_path, {"path": "train.csv", "image_root": "train_images"})
    assert loaded.class_names == ("no_dr", "mild", "moderate", "severe", "proliferative")
    assert loaded.images.shape == (61, 16, 16, 3)
    grades = {str(row[0]): row[1] for row in [*rows, ["0000000e0345", 4]]}
    assert loaded.reference.tolist() == [grades[name] for name in loaded.ids.tolist()]


def test_hyper_kvasir(tmp_path: Path) -> None:
    places = {
        "cecum": "lower-gi-tract/anatomical-landmarks",
        "hemorrhoids": "lower-gi-tract/pathological-findings",
        "z-line": "upper-gi-tract/anatomical-landmarks",
    }
    rows = []
    for k, (finding, place) in enumerate(places.items()):
        for i in range(10):
            name = f"{k:08x}-0000-4000-8000-{i:012x}"
            picture(tmp_path / "labeled-images" / place / finding / f"{name}.jpg")
            rows.append([name, "Lower GI" if k < 2 else "Upper GI", finding, place.split("/")[1]])
    table = tmp_path / "labeled-images" / "image-labels.csv"
    write_table(table, ["Video file", "Organ", "Finding", "Classification"], rows)
    loaded = load("hyper_kvasir", tmp_path, {"path": "labeled-images/image-labels.csv", "image_root": "labeled-images"})
    assert loaded.class_names == ("cecum", "hemorrhoids", "z-line")
    assert [int(name[:8], 16) for name in loaded.ids] == loaded.reference.tolist()
    for source, k in zip(loaded.sources.tolist(), loaded.reference.tolist(), strict=True):
        assert Path(source).parent.name == loaded.class_names[k]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_configurations_say_nothing_about_a_machine(path: Path) -> None:
    data = load_config(path).data
    for place in (data.path, data.test_path, data.image_root, data.metadata):
        assert place is None or place.parts[0] == "data"
