"""From notebooks to a rendered book: check parameters, execute, stage, render. Unchanged work is not repeated."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import yaml
import zmq
from traitlets.config import Config

from cladec_companion.book import appendix, folding, notebook, shown, solutions, unchanged
from cladec_companion.engine import grid, runner, workers
from cladec_companion.engine.plan import PlannedCell
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.records.files import BUILT, RECORDED, ROOT
from cladec_companion.records.record import open_record
from cladec_companion.records.settings import ALL
from cladec_core import training
from cladec_core.errors import RunError, one_of

NOTEBOOKS = ROOT / "notebooks"
EXECUTED = ROOT / "build" / "notebooks"
SITE = ROOT / "build" / "site"
HTML = ROOT / "build" / "book" / "_build" / "html"
CELL_SECONDS = 3600


def notebook_names() -> list[str]:
    """Names of the notebooks, without the ending, in the order of the book's table of contents."""
    order = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    names = [path.stem for path in NOTEBOOKS.glob("*.ipynb")]
    return sorted(names, key=lambda name: (order.find(f"notebooks/{name}"), name))


def plain(name: str) -> str:
    """Name of a notebook without folder and ending."""
    return name.removesuffix(".ipynb").removeprefix("notebooks/")


def check(name: str, profile: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Check the parameters of a notebook before anything runs.

    Parameters
    ----------
    name
        Of a notebook, without the ending.
    profile
        One of the profiles.
    changes
        Parameters to change, by name.

    Returns
    -------
    dict
        What papermill injects.

    Raises
    ------
    UsageError
        For an unknown notebook, profile or parameter, or a value that cannot be used.
    """
    from papermill import inspect_notebook

    name = plain(name)
    one_of("notebook", name, notebook_names())
    known = [parameter for parameter in inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb")) if parameter != "profile"]
    for parameter in changes:
        one_of(f"parameter of {name}", parameter, known)
    settings = settings_for(name, profile, **changes)
    named = {key: ALL if value is None and getattr(settings, key) is None else value for key, value in changes.items()}
    return {"profile": profile, **named}


def execute(name: str, profile: str, changes: dict[str, Any], *, force: bool = False) -> Path:
    """Execute a notebook, unless it was executed with the same inputs before.

    Returns
    -------
    Path
        The executed notebook, under `build/notebooks/<profile, or profile-hash if parameters were changed>/`.

    Raises
    ------
    RunError
        If a cell fails: the message names the notebook, the cell and the error. The last good output stays.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    name = plain(name)
    parameters = check(name, profile, changes)
    output, key = _output(name, profile, changes), _inputs_key(name, parameters)
    if not force and _is_current(output, key):
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_suffix(f".{os.getpid()}.tmp.ipynb")
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{name}.ipynb"), str(temporary), parameters, kernel_name="python3", cwd=str(ROOT),
            progress_bar=sys.stderr.isatty(), stderr_file=sys.stderr if sys.stderr.isatty() else None,
            execution_timeout=CELL_SECONDS, config=kernel_sockets(),
        )  # fmt: skip
        executed = nbformat.read(temporary, 4)
        chapter = CHAPTERS.get(name)
        record = notebook.saved(name) if chapter and chapter.trains else None
        shown.decide(executed, record, chapter.told(record) if chapter else None)
        executed.metadata["cladec"] = {"inputs": key}
        executed.metadata.pop("papermill", None)  # holds this machine's paths
        nbformat.write(executed, temporary)
        os.replace(temporary, output)
    except PapermillExecutionError as error:
        raise RunError(
            f"notebooks/{name}.ipynb failed in cell [{error.exec_count}]: {error.ename}: {error.evalue} "
            f"({error.source.strip().splitlines()[0]!r})"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return output


def kernel_sockets() -> Config:
    """Configuration of a kernel that is reached through Unix sockets of its own, where the system has them.

    Jupyter chooses network ports before a kernel binds them, so two kernels that start at once may be given the same.
    """
    place = f"{tempfile.gettempdir()}/cladec-{uuid.uuid4()}"
    if os.name != "posix" or len(f"{place}-5") > zmq.IPC_PATH_MAX_LEN:
        return Config()
    return Config(KernelManager={"transport": "ipc", "ip": place})


def _output(name: str, profile: str, changes: dict[str, Any]) -> Path:
    """Where an executed notebook goes."""
    folder = profile if not changes else settings_for(name, profile, **changes).record_name()
    if changes and folder == profile:  # only axes changed: a page of the reader's own all the same
        folder = f"{profile}-{_digest([json.dumps(changes, sort_keys=True).encode()])[:8]}"
    return EXECUTED / folder / f"{name}.ipynb"


def _is_current(output: Path, key: str) -> bool:
    """Whether a notebook was executed with these inputs."""
    return output.exists() and nbformat.read(output, 4).metadata.get("cladec", {}).get("inputs") == key


def train(names: Iterable[str], profile: str, changes: dict[str, Any], device: str = "auto") -> None:
    """Train what some notebooks need and no record has, by all cores; then the notebooks find their records.

    An unfinished record of this machine that can no longer be continued is moved aside, and begun anew.

    Raises
    ------
    RunError
        If a cell could not be trained.
    """
    tasks, root = [], runner.default_root()
    for name in names:
        chapter = CHAPTERS.get(name)
        if chapter is not None and chapter.trains:
            settings = chapter.settings_for(profile, **changes)
            if not runner.missing(chapter, settings, open_record(settings, root)):
                continue
            with runner.one_thread():
                aside = runner.set_aside(settings, root, training.compute(device))
            if aside:
                print(f"{name}: the record of earlier code cannot be continued; it is in {aside} now")
            missing = runner.missing(chapter, settings, open_record(settings, root))
            tasks += [PlannedCell(chapter, settings, cell) for cell in missing]
    if tasks:
        grid.train(tasks, root, device=device)


def _inputs_key(name: str, parameters: dict[str, Any]) -> str:
    """Digest of everything an executed notebook depends on."""
    files = (path for package in ("cladec_core", "cladec_companion") for path in (ROOT / package).rglob("*"))
    code = (path for path in files if path.suffix in {".py", ".html", ".svg", ".csv", ".yml"})
    sources = [NOTEBOOKS / f"{name}.ipynb", *sorted(code)]
    sources += [
        ROOT / "book" / "static" / "interactive.js",
        *sorted(RECORDED.rglob("manifest.json")),
    ]
    sources += [path for path in (ROOT / "uv.lock",) if path.exists()]
    text = json.dumps(parameters, sort_keys=True)
    return _digest([text.encode(), *(path.read_bytes() for path in sources)])


def _key(name: str, profile: str) -> str:
    return _inputs_key(name, check(name, profile, {}))


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def build(
    profile: str = "quick", *, force: bool = False, student: bool = False, report: Callable[[str], None] = print
) -> Path:
    """Execute every notebook at a profile and render the book.

    Parameters
    ----------
    profile
        One of the profiles.
    force
        Execute and render even what has not changed.
    student
        Leave out what is for instructors (`for_students`).
    report
        Is told what is done.

    Returns
    -------
    Path
        The front page.

    Raises
    ------
    UsageError, RunError
        If a notebook fails, or Sphinx warns about anything; an earlier book stays as it was.
    """
    unchanged.forget()
    names = notebook_names()
    waiting = [name for name in names if force or not _is_current(_output(name, profile, {}), _key(name, profile))]
    train(waiting, profile, {}, os.environ.get("CLADEC_DEVICE", "auto"))
    executed = {name: _output(name, profile, {}) for name in names}

    def execute_one(name: str) -> None:
        report(f"{name}: executing at profile {profile}")
        executed[name] = execute(name, profile, {}, force=force)

    alone = {name for name in waiting if name in CHAPTERS and CHAPTERS[name].measures_time}
    with ThreadPoolExecutor(workers.cores()) as pool:
        list(pool.map(execute_one, [name for name in waiting if name not in alone]))
    for name in alone:
        execute_one(name)
    _stage(executed, profile, student)
    front = _render(force, report)
    unchanged.keep(profile, student)
    return front


def _stage(executed: dict[str, Path], profile: str, student: bool = False) -> None:
    """Copy the sources to `build/site`, with each executed notebook at its own place, and write generated pages."""
    from cladec_companion.book import heads as chapters
    from cladec_companion.book import launch, pages

    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(ROOT / "book", SITE / "book", ignore=shutil.ignore_patterns("results", "unfinished"))
    for name in executed:  # its solutions are no page of their own
        (SITE / "book" / solutions.FOLDER / f"{name}.md").unlink(missing_ok=True)
    shutil.copy(ROOT / "CHANGELOG.md", SITE / "CHANGELOG.md")
    configuration = yaml.safe_dump(launch.configuration(launch.address()), sort_keys=False, allow_unicode=True)
    (SITE / "_config.yml").write_text(configuration, encoding="utf-8")
    (SITE / "notebooks").mkdir()
    for name, path in executed.items():
        page = nbformat.read(path, 4)
        if not student:
            solutions.add(page, (ROOT / "book" / solutions.FOLDER / f"{name}.md").read_text(encoding="utf-8"))
        folding.fold(page)
        second = appendix.split(page)
        nbformat.write(page, SITE / "notebooks" / f"{name}.ipynb")
        if second is not None:
            nbformat.write(second, SITE / "notebooks" / f"{name}{appendix.SUFFIX}.ipynb")
    if student:
        for_students(SITE)
    drawn = chapters.take_figures(SITE)
    pages.write(SITE / "book" / "generated", [RECORDED, BUILT], drawn=drawn)
    chapters.write(SITE, profile)


def for_students(site: Path) -> None:
    """Take the instructor's folder and the notes of speakers out of a staged book."""
    shutil.rmtree(site / "book" / solutions.FOLDER, ignore_errors=True)  # clones for students may lack the folder
    contents = site / "book" / "_toc.yml"
    listed = contents.read_text(encoding="utf-8")
    contents.write_text(listed.replace(f"      - file: book/{solutions.FOLDER}/index\n", ""), encoding="utf-8")
    for page in (site / "book").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r":::\{admonition\} Speaker notes.*?\n:::\n", "", text, flags=re.S), encoding="utf-8")


def _render(force: bool, report: Callable[[str], None]) -> Path:
    front = HTML / "index.html"
    stamp = HTML.parents[1] / "site.sha256"
    files = sorted(path for path in SITE.rglob("*") if path.is_file())
    key = _digest(part for path in files for part in (str(path.relative_to(SITE)).encode(), path.read_bytes()))
    if front.exists() and stamp.exists() and stamp.read_text() == key and not force:
        report("book: nothing has changed")
        return front
    report("book: rendering")
    stamp.unlink(missing_ok=True)
    if force:
        shutil.rmtree(HTML.parent, ignore_errors=True)
    outcome = sphinx(SITE, SITE / "book" / "_toc.yml", HTML.parents[1], "-W", "-n", "--keep-going")
    if outcome.returncode:
        shutil.rmtree(HTML.parent / ".doctrees", ignore_errors=True)
        lines = re.sub(r"\x1b\[\d+(;\d+)*m", "", outcome.stderr + outcome.stdout).strip().splitlines()
        told = [line for line in lines if "WARNING" in line or "ERROR" in line] or lines[-15:]
        raise RunError("The book was not rendered without warnings:\n" + "\n".join(told))
    _remove_stale()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(key)
    return front


def _remove_stale() -> None:
    """Delete rendered pages without a source, such as the instructor's when the book for students follows the whole."""
    for folder in ("book", "notebooks"):
        sources = {path.relative_to(SITE).with_suffix("") for path in (SITE / folder).rglob("*") if path.is_file()}
        for root, kind in ((HTML, "*.html"), (HTML / "_sources", "*.*")):
            for page in (root / folder).rglob(kind):
                if page.relative_to(root).with_suffix("") not in sources:
                    page.unlink()


def sphinx(site: Path, toc: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Jupyter Book on a staged site; the pages come to `output/_build/html`."""
    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [program, "build", str(site), "--path-output", str(output), "--toc", str(toc), "-q", *options]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
