"""Environments of their own for what only benchmarks need, made on first use.

They stand in the user's cache folder, named after the content of their requirements:
nothing of them is in the project's lock.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def python_of(requirements: Path) -> str:
    """The interpreter of the environment that has these requirements installed."""
    folder = cache() / f"venv-{_hash(requirements)}"
    python = folder / "bin" / "python"
    marker = folder / "is-complete"
    if not marker.exists():
        print(f"installing {requirements.name} into an environment", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "-r", requirements]
        subprocess.run(install, check=True)
        marker.touch()
    return str(python)


def jars_of(pom: Path) -> str:
    """The class path of a Maven project: its own classes and what they need."""
    source = pom.parent / "src"
    folder = cache() / f"peer-{_hash(pom, *sorted(source.rglob('*.java')))}"
    if not folder.is_dir():
        print(f"building {pom.parent.name} with Maven", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=cache()) as build:
            jars = Path(build) / "jars"
            command = ["mvn", "-q", "-B", "-f", pom, f"-Dbench.build={build}/target"]
            goals = ["package", "dependency:copy-dependencies"]
            options = ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
            subprocess.run([*command, *goals, *options], check=True)
            for jar in Path(build).glob("target/*.jar"):
                jar.rename(jars / jar.name)
            jars.rename(folder)
    return f"{folder}/*"


def cache() -> Path:
    """Where the jars of the broker are too."""
    named = os.environ.get("KAFKA_CACHE")
    folder = Path(named) if named else Path.home() / ".cache" / "rollback-guard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _hash(*files: Path) -> str:
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()[:16]
