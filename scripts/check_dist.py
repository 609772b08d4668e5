"""Builds the wheel and the sdist into dist/, and checks their contents.

The wheel contains exactly the source tree's package: no tests, and all data files. The sdist contains what its own
wheel is built from: that wheel must equal, file by file, the one built from the source tree.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def run(*command: str | Path) -> None:
    """Run a command; show its output only if it fails."""
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:4]))} … failed:\n{done.stdout}\n{done.stderr}")


def contents(wheel: Path) -> dict[str, bytes]:
    """Return a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packaged(folder: Path) -> set[str]:
    """Return the files of a source tree that belong in the wheel."""
    files = {path for path in (folder / "asyncauth").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {str(path.relative_to(folder)) for path in (*files, folder / "pytest_asyncauth.py")}


def check_wheel(files: dict[str, bytes]) -> None:
    """Check that the wheel contains the whole package and nothing else."""
    packed = {name for name in files if ".dist-info/" not in name}
    if packed != packaged(ROOT):
        sys.exit(f"the wheel and the source tree differ: {sorted(packed ^ packaged(ROOT))}")
    if "asyncauth/py.typed" not in packed:
        sys.exit("the wheel has no py.typed: type checkers would not look at it")


def named_in_description(files: dict[str, bytes]) -> list[str]:
    """Return the files that the package index page names. Check that it has no relative links or pictures."""
    (name,) = [name for name in files if name.endswith(".dist-info/METADATA")]
    description = files[name].decode()
    relative = re.findall(r"\]\((?!https?://|#)([^)]+)\)", description)
    if relative:
        sys.exit(f"the description has links that an index can't follow: {relative}")
    named = re.findall(r"\(`([^`]+\.\w+)`\)", description)
    if not named:
        sys.exit("the description names no files: a reader would not find the documentation")
    return named


def check_sdist(sdist: Path, files: dict[str, bytes], work: Path) -> int:
    """Check that the sdist's own wheel equals the source tree's; return how many files the sdist contains.

    Also check that it contains the files that the package index page names.
    """
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "sdist", filter="data")
        number = len(archive.getnames())
    (unpacked,) = (work / "sdist").iterdir()
    known = ("tests", "examples", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "pyproject.toml")
    for wanted in (*known, *named_in_description(files)):
        if not (unpacked / wanted).exists():
            sys.exit(f"the sdist has no {wanted}")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", work, unpacked)
    (wheel,) = work.glob("*.whl")
    own = contents(wheel)
    differing = sorted(name for name in {*own, *files} if own.get(name) != files.get(name))
    if differing:
        sys.exit(f"the wheel of the sdist differs from the source tree's: {differing}")
    return number


def main() -> None:
    """Build the distributions and check them."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", DIST, ROOT)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    files = contents(wheel)
    check_wheel(files)
    with tempfile.TemporaryDirectory() as folder:
        number = check_sdist(sdist, files, Path(folder))
    print(f"dist: {wheel.name} with {len(files)} files, {sdist.name} with {number}: both as they should be")


if __name__ == "__main__":
    main()
