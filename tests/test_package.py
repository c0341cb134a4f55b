"""What is published: the sdist is complete, and its wheel works outside the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import ur4rec_recbole

ROOT = Path(__file__).parents[1]
PUBLISHED = ("ur4rec_recbole", "properties", "dataset")  # folders; and the files at the top


def build(kind: str, source: Path, target: Path) -> Path:
    """Build an sdist or a wheel by the backend that pyproject.toml names."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [made] = target.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return made


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel that was built from the unpacked sdist."""
    folder = tmp_path_factory.mktemp("package")
    for name in PUBLISHED:
        shutil.copytree(ROOT / name, folder / "checkout" / name)
    for file in ROOT.glob("[!.]*.*"):
        if file.is_file():
            shutil.copy(file, folder / "checkout")
    shutil.copy(ROOT / "LICENSE", folder / "checkout")
    sdist = build("sdist", folder / "checkout", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [source] = (folder / "unpacked").iterdir()
    wheel = build("wheel", source, folder)
    shutil.unpack_archive(wheel, folder / "installed", "zip")
    return folder / "installed"


def outside(installed: Path, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True
    )  # the folder is that of the test, outside the checkout


def test_the_wheel_has_all_that_the_package_has(installed: Path) -> None:
    package = ROOT / "ur4rec_recbole"
    files = [
        file for file in package.rglob("*") if file.is_file() and "__pycache__" not in str(file)
    ]
    missing = [file for file in files if not (installed / file.relative_to(ROOT)).is_file()]
    assert missing == []
    for folder, name in (("properties", "presets"), ("dataset", "dataset")):
        given = {str(file.relative_to(ROOT / folder)) for file in (ROOT / folder).rglob("*.*")}
        found = installed / "ur4rec_recbole" / name
        assert given <= {str(file.relative_to(found)) for file in found.rglob("*.*")}


def test_the_wheel_names_its_command_version_and_licence(installed: Path) -> None:
    [about] = installed.glob("*.dist-info")
    metadata = (about / "METADATA").read_text(encoding="utf-8")
    assert f"Version: {ur4rec_recbole.__version__}\n" in metadata
    assert "License" in metadata and "# UR4Rec for RecBole" in metadata
    assert "ur4rec = ur4rec_recbole.commands.main:main" in (about / "entry_points.txt").read_text()
    assert any(file.name == "LICENSE" for file in about.rglob("*"))


def test_the_installed_package_trains_by_a_preset(installed: Path) -> None:
    brief = ("--stages=[{name: pretrain_sasrec, epochs: 0}]", "--hidden_size=8", "--inner_size=8")
    done = outside(
        installed, "-m", "ur4rec_recbole", "train", "--preset", "small", *brief,
        "--run_folder=run", "--evaluated_parts=[valid]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where = "import ur4rec_recbole, sys; print(ur4rec_recbole.__file__)"
    assert str(installed) in outside(installed, "-c", where).stdout
    assert Path("run/model.safetensors").is_file()


def test_version_is_told_the_same_everywhere() -> None:
    version = ur4rec_recbole.__version__
    assert f'version="{version}"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
