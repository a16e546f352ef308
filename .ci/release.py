"""Prepares a release and stops before the upload: `make release`. The workflow `release` runs it with the tag's name.

Checks that the changelog dates the version of pyproject.toml and that the clone is clean, builds both archives, checks
them, and writes the list of what they depend on, in the form CycloneDX, next to them.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = (
    shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    or "uv"
)
DIST = ROOT / "dist"
TWINE, CYCLONEDX = "twine==7.0.0", "cyclonedx-bom==7.5.0"


class Refused(Exception):
    """Why there is no release, in one line."""


def run(*command: str | Path) -> str:
    """What the command printed. Raises Refused with its last line if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[
            -1
        ]
        raise Refused(f"{' '.join(map(str, command))}: {last}")
    return done.stdout


def dated(version: str) -> None:
    """Refuses a version without a date in the changelog."""
    heading = (
        (ROOT / "CHANGELOG.md")
        .read_text(encoding="utf-8")
        .split("\n## ")[1]
        .splitlines()[0]
    )
    if not re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", heading):
        raise Refused(
            f"the first heading of CHANGELOG.md is {heading!r}: write '## [{version}] - YYYY-MM-DD'"
        )


def tagged(version: str, tag: str) -> None:
    """Refuses a tag of another version; without a tag, a clone with changes, or a version that has one."""
    if tag:
        if tag != f"v{version}":
            raise Refused(
                f"the tag {tag} is not v{version}, the version of pyproject.toml"
            )
        return
    if changed := run("git", "status", "--porcelain"):
        raise Refused(
            f"the clone has changes ({changed.splitlines()[0].strip()}): commit them"
        )
    if run("git", "tag", "--list", f"v{version}"):
        raise Refused(f"the tag v{version} exists: raise the version in pyproject.toml")


def build() -> list[Path]:
    """Both archives; the wheel comes from the unpacked source archive, so that this one is complete."""
    run(UV, "build", "--out-dir", DIST, "--clear")
    archives = sorted(path for path in DIST.iterdir() if path.suffix in {".whl", ".gz"})
    run(UV, "tool", "run", TWINE, "check", "--strict", *archives)
    for path in archives:
        with (
            zipfile.ZipFile(path)
            if path.suffix == ".whl"
            else tarfile.open(path) as archive
        ):
            names = (
                archive.namelist()
                if isinstance(archive, zipfile.ZipFile)
                else archive.getnames()
            )
        if not any(name.endswith("LICENSE") for name in names):
            raise Refused(f"{path.name} has no LICENSE")
    return archives


def main(tag: str = "") -> None:
    """The checks in their order, then what remains to be done by hand."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]["version"]
    dated(version)
    tagged(version, tag)
    archives = build()
    bill = DIST / f"reasoner_kit-{version}.cdx.json"
    run(
        UV,
        "tool",
        "run",
        "--from",
        CYCLONEDX,
        "cyclonedx-py",
        "requirements",
        "constraints.txt",
        "-o",
        bill,
    )
    for path in (*archives, bill):
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes")
    if not tag:
        print(
            f"now: git tag v{version} && git push origin v{version}; the workflow `release` uploads what it builds"
        )


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except Refused as refusal:
        sys.exit(f"no release: {refusal}")
