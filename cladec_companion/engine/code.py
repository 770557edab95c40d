"""The digest of the code that decides what a training gives: cells with the same digest belong into one record.

Code changes that change no training. Where that is proved, the new code counts as the old, by a line in `PROVED`.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from cladec_core import networks, training
from cladec_core.explainer import building, fitting, protocol

HERE = Path(__file__)
DESCRIPTIONS = ("setup.py", "trainings.py")  # the modules beside this one that describe trainings
ROOMS = (networks, training)  # counted whole
SHARED = (building, fitting, protocol)  # of these, what the descriptions use, and what that uses in turn

# Digest of code -> the digest of older code that gives the same trainings bit for bit, as proved on a day with a commit
# of it. `python -m benchmarks.same_trainings COMMIT` prints the line, if that is so; nobody writes one by hand.
PROVED = {
    "8f9bb6cb5aaab85c09d48b3d72049d44d14570d4929fb9fe0229a3f672b6133c": (
        "8320fb1871d943c9187920fa3007731d8ab2ae4ada67589fbd7052710394b80d",
        "2026-11-22, with f30b4cf",
    ),
}


@cache
def training_code() -> str:
    """Digest of the code that decides what a training gives; that of older code, if both give the same (`PROVED`)."""
    digest = code_digest()
    older, _ = PROVED.get(digest, (digest, ""))
    return older


def code_digest() -> str:
    """Digest of the code that decides what a training gives, as it stands, without its comments and docstrings.

    What the room data does shows in the digest of the images. The rest of the explainer (how long it trains, what it
    tells its user) decides nothing about the book's trainings, and leaves the digest as it is.
    """
    descriptions = [_parsed(HERE.with_name(name)) for name in DESCRIPTIONS]
    rooms = [_parsed(path) for room in ROOMS for path in sorted(_file(room).parent.glob("*.py"))]
    definitions = {module.__name__.rpartition(".")[2]: _definitions(_parsed(_file(module))) for module in SHARED}
    used = [definitions[module][name] for module, name in sorted(_reached(definitions, descriptions))]
    digest = hashlib.sha256()
    for tree in [*descriptions, *rooms, *used]:
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _file(module: ModuleType) -> Path:
    return Path(str(module.__file__))


def _parsed(path: Path) -> ast.Module:
    """A file's syntax without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return tree


def _definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """What a module defines at its top, by name."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            found |= dict.fromkeys(names, node)
    return found


def _reached(definitions: Mapping[str, Mapping[str, ast.stmt]], start: Iterable[ast.AST]) -> set[tuple[str, str]]:
    """Module and name of each definition that some code uses, itself or by way of others.

    A name stands for the definition of that name in any of the modules, whichever way the code has imported the name.
    """
    reached: set[tuple[str, str]] = set()
    waiting = list(start)
    while waiting:
        names = {
            part.attr if isinstance(part, ast.Attribute) else part.id
            for part in ast.walk(waiting.pop())
            if isinstance(part, ast.Attribute | ast.Name)
        }
        more = {(module, name) for module, own in definitions.items() for name in names & own.keys()} - reached
        reached |= more
        waiting += [definitions[module][name] for module, name in more]
    return reached
