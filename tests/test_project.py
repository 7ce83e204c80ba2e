"""What the repository promises beside its code: lock, pages, package."""

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import guard
import models
from guard.shell import policy_file
from guard.shell.cli import app

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
README = (ROOT / "README.md").read_text()
EDITABLES = Requirement("editables")  # what hatchling asks for while it installs


def requirements() -> list[Requirement]:
    """All direct ones: to run, to demonstrate, to develop, to build."""
    lines = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["demo"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    ]
    return [*map(Requirement, dict.fromkeys(lines)), EDITABLES]


def locked() -> dict[str, list[tuple[str, str]]]:
    """Versions and hashed lines of the lock by package; some differ by platform."""
    found: dict[str, list[tuple[str, str]]] = {}
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)
    for entry in filter(str.strip, entries):
        name, version = re.match(r"([\w.-]+)(?:\[.*?\])?==([^\s;\\]+)", entry).groups()
        found.setdefault(canonicalize_name(name), []).append((version, entry))
    return found


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_lock_covers_every_dependency(requirement: Requirement) -> None:
    """Each direct dependency is locked, to versions that pyproject.toml allows."""
    versions = [v for v, _ in locked()[canonicalize_name(requirement.name)]]
    assert [v for v in versions if v not in requirement.specifier] == []


def test_the_lock_is_hashed_and_names_no_place() -> None:
    """Whoever installs from it gets these files, from whichever index is theirs."""
    unhashed = [
        name
        for name, entries in locked().items()
        if not all("--hash=sha256:" in entry for _, entry in entries)
    ]
    assert unhashed == []
    assert re.findall(r"(?i)https?:|file:|index-url|find-links| @ ", LOCK) == []


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_has_its_reason(requirement: Requirement) -> None:
    """A row in docs/dependencies.md, with something in it."""
    page = (ROOT / "docs/dependencies.md").read_text().lower()
    name = canonicalize_name(requirement.name)
    rows = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"{name} has {len(rows)} rows"
    assert len(rows[0].split("|")[2].strip()) > 10


def test_no_reason_outlives_its_dependency() -> None:
    """What docs/dependencies.md names is a dependency."""
    page = (ROOT / "docs/dependencies.md").read_text()
    named = {
        canonicalize_name(n) for n in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    }
    assert named == {canonicalize_name(r.name) for r in requirements()}


def test_both_packages_are_of_this_project() -> None:
    """`models` is a common name: no other package of that name hides ours."""
    places = [Path(str(package.__file__)).parent.parent for package in (guard, models)]
    assert places == [ROOT, ROOT]


def commands_shown() -> Iterator[str]:
    """Every `guard …` in the README, in blocks of shell and between backticks."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    shell = "\n".join(block for language, block in fences if not language)
    for line in shell.splitlines():
        if line.startswith("guard "):
            yield line
    yield from re.findall(r"`(guard [^`]+)`", README)


@pytest.mark.parametrize("line", sorted(set(commands_shown())))
def test_the_readme_shows_commands_that_there_are(line: str) -> None:
    """Each parses as it stands, options and all, where it is more than a name."""
    _, name, *arguments = shlex.split(line.replace("…", ""))
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    if arguments:
        command.make_context(name, arguments)


def test_the_policy_of_the_readme_is_one() -> None:
    """It has ten lines at most and no fault."""
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE
    )
    assert len(block.splitlines()) <= 10
    assert policy_file.read(block.encode(), file="README.md").name == "checkout"


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the repository names one that is there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_architecture_page_lists_every_file() -> None:
    """No file of guard/ and models/ is missing from the reading order."""
    page = (ROOT / "docs/architecture.md").read_text()
    files = [*(ROOT / "guard").glob("*.py"), *(ROOT / "models").glob("*.py")]
    names = {file.name for file in files} - {"__init__.py"}
    assert {name for name in names if f"`{name}`" not in page} == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, ROOT],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (file,) = folder.glob("rollback_guard-*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_holds_what_runs_and_nothing_else(wheel: Path) -> None:
    """Code, policy, the demo's telemetry with its licence; no tests, no benchmarks."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    (info,) = tops - {"guard", "models"}
    assert info.endswith(".dist-info")
    sources = [*ROOT.glob("guard/**/*.py"), *ROOT.glob("models/**/*.py")]
    data = "guard/shell/demo_data"
    assert {file.relative_to(ROOT).as_posix() for file in sources} <= names
    assert {
        "guard/shell/policies/default.yaml",
        f"{data}/episodes.ndjson.gz",
        f"{data}/LICENSE",
        f"{info}/licenses/LICENSE",
    } <= names


@pytest.mark.slow
def test_the_wheel_runs_without_the_sources(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere it finds its own modules, policy and recording."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import guard, models\n"
        "from guard.shell import policy_file\n"
        "from guard.shell.commands.demo import recording\n"
        "print(guard.__file__, models.__file__, sep='\\n')\n"
        "print(policy_file.load().name, len(recording()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *files, last = done.stdout.splitlines()
    assert files == [str(tmp_path / f"{p}/__init__.py") for p in ("guard", "models")]
    assert last == "deployment-guide 20869"
