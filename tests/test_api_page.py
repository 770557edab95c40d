"""The reference of the core in the book: complete, without a broken link, and made of docstrings that say enough."""

import ast
import inspect
import io
import re
from importlib import import_module
from pkgutil import walk_packages

import pytest
import yaml
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

import cladec_core
from cladec_companion.records.files import ROOT
from cladec_core.errors import UsageError

MODULES = [
    import_module(part.name)
    for part in walk_packages(cladec_core.__path__, "cladec_core.")
    if not part.name.endswith("__main__")
]
EXPORTED = [getattr(cladec_core, name) for name in cladec_core.__all__ if name != "Explanations"]  # that is a dict
OPTIONS = ("autodoc", "default_role", "napoleon", "nitpick", "python", "toc_object")


def public(module):
    """Names of the functions and classes that a module defines itself."""
    found = inspect.getmembers(module, lambda part: inspect.isclass(part) or inspect.isfunction(part))
    return [name for name, part in found if name[0] != "_" and part.__module__ == module.__name__]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The page as Sphinx reads it with the book's options: names of the documented objects, and what it warned of."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "notebooks").mkdir()
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8").replace("../notebooks/", "").replace(".ipynb", ".md")
    (folder / "index.md").write_text(page, encoding="utf-8")
    for name in set(re.findall(r"\]\(([\w./]+)\)", page)):
        (folder / name).write_text(f"---\norphan: true\n---\n# {name}\n", encoding="utf-8")
    configured = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    options = {name: value for name, value in configured.items() if name.startswith(OPTIONS)}
    options |= {"extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"], "nitpicky": True}
    warned = io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(folder, None, folder / "out", folder / "out", "dummy", options, status=None, warning=warned)
        app.build()
    return set(app.env.get_domain("py").objects), warned.getvalue()


def test_reference_is_read_without_a_warning(read):
    assert not read[1]


def test_reference_has_every_public_name(read):
    assert {f"cladec_core.{name}" for name in cladec_core.__all__} <= read[0]
    wanted = {f"{module.__name__}.{name}" for module in MODULES for name in public(module)}
    assert len(wanted) > 60
    assert wanted <= read[0]


def section(docstring, title):
    """The lines below a title of numpydoc's, up to the next one."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w+\n-+$|\Z)", docstring, re.M | re.S)
    return found[1] if found else ""


METHODS = [
    method
    for part in EXPORTED
    for name, method in inspect.getmembers(part, inspect.isroutine)
    if name[0] != "_" and str(inspect.getmodule(method)).startswith("<module 'cladec_core")
]


@pytest.mark.parametrize("part", [*EXPORTED, *METHODS], ids=lambda part: part.__qualname__)
def test_docstring_of_the_explainer_names_parameters_and_result(part):
    text, signature = inspect.getdoc(part), inspect.signature(part)
    lists = "Attributes" if hasattr(part, "__dataclass_fields__") else "Parameters"
    named = re.findall(r"\w+", " ".join(re.findall(r"^\S.*$", section(text, lists), re.M)))
    assert set(signature.parameters) - {"self"} <= set(named)
    if signature.return_annotation not in (inspect.Signature.empty, None):
        assert section(text, "Returns")


def functions(tree):
    """Public functions of a module's source, also those in classes; a constructor's docstring is its class's."""
    for part in tree.body:
        if isinstance(part, ast.ClassDef) and part.name[0] != "_":
            yield from ((name, node, ast.get_docstring(part) if node.name == "__init__" else text)
                        for name, node, text in functions(part))  # fmt: skip
        elif isinstance(part, ast.FunctionDef) and (part.name[0] != "_" or part.name == "__init__"):
            yield part.name, part, ast.get_docstring(part)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_docstrings_name_the_errors_that_are_raised(module):
    for name, function, text in functions(ast.parse(inspect.getsource(module))):
        source = ast.unparse(function)
        raised = set(re.findall(r"raise (UsageError|RunError)\b", source))
        raised |= {UsageError.__name__} if re.search(r"\bone_of\(", source.partition("\n")[2]) else set()
        assert raised <= set(section(text, "Raises").split()), name
