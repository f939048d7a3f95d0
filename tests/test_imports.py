"""What must stay quick does not import what is slow."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "timm", "torchvision", "pandas", "matplotlib", "sklearn")


def heavy_modules_after(code: str) -> set[str]:
    listing = f"{code}\nimport sys\nprint('\\nMODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split()) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import overread",
        "import overread.arrays.acquisition, overread.data.dataset, overread.config, overread.oracle, overread.results",
        "import overread.store",
        "import sys, overread.cli\nsys.argv = ['overread', '--help']\n"
        "try: overread.cli.main()\nexcept SystemExit as end: assert not end.code",
        "import sys, overread.cli\nsys.argv = ['overread', 'simulate', '--set', 'noise.rat=1']\n"
        "try: overread.cli.main()\nexcept SystemExit as end: assert end.code == 2",
    ],
    ids=["package", "below learn", "store", "help", "configuration error"],
)
def test_torch_is_imported_by_what_trains_alone(code: str) -> None:
    assert heavy_modules_after(code) & {"torch", "timm", "torchvision", "pandas"} == set()


def test_the_probe_sees_torch_where_it_is() -> None:
    assert "torch" in heavy_modules_after("import overread.learn.device")
