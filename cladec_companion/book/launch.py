"""How a reader runs a chapter: one command, its parameters, and the buttons of Binder and Colab."""

import re
from dataclasses import fields
from typing import Any

import pandas as pd
import yaml
from papermill import inspect_notebook

from cladec_companion.evidence import tables
from cladec_companion.papers import settings_for
from cladec_companion.records.files import ROOT
from cladec_companion.records.settings import ALL, Parameters

HOST = re.compile(r"https://(github|gitlab)\.com/[\w.-]+/[\w.-]+")


def address() -> str | None:
    """Where the repository is published: `repository-code` in CITATION.cff, the only place that says so.

    Returns
    -------
    str or None
        None if nothing stands there, or an address that is neither on GitHub nor on GitLab.
    """
    named = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")).get("repository-code", "")
    found = HOST.fullmatch(named.rstrip("/").removesuffix(".git"))
    return found and found[0]


def configuration(repository: str | None) -> dict[str, Any]:
    """Jupyter Book's configuration, with buttons only where they lead to something.

    Parameters
    ----------
    repository
        As `address` returns it. Binder opens notebooks from GitHub and GitLab, Colab from GitHub only.
    """
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    if repository is None:
        del config["launch_buttons"], config["repository"]
        return config
    config["repository"]["url"] = repository
    if not repository.startswith("https://github.com/"):
        del config["launch_buttons"]["colab_url"]
    return config


def how_to_run(name: str, profile: str, repository: str | None) -> str:
    """The folded box below a chapter's head: the command, Binder and Colab, and a table of the parameters."""
    settings = settings_for(name, profile)
    rows = [
        {
            "parameter": f"`{parameter}`", "here": f"`{_value(getattr(settings, parameter))}`",
            "what it is": described["help"],
        }
        for parameter, described in inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb")).items()
    ]  # fmt: skip
    clone = f"<{repository}>" if repository else "the repository"
    parts = [
        "::::{dropdown} Run this chapter yourself\n:class-container: launch",
        f"**On your machine**, in a clone of {clone}, after `make setup`:",
        f"```bash\n.venv/bin/cladec run {name}\n```",
        "With a changed parameter, such as `--profile laptop` or `--set name=value`, the run gets a page and a "
        f"notebook of its own, beside this book.{_kept(settings)} The button with an arrow at the top downloads the "
        "notebook.",
        *([elsewhere(repository)] if repository else []),
        f"These parameters were used for this page:\n\n{tables.markdown(pd.DataFrame(rows))}",
        "::::",
    ]
    return "\n\n".join(parts)


def _kept(settings: Parameters) -> str:
    """Which parameters add to a record, and which begin another; empty for a chapter that keeps no record."""
    axes = [f"`{item.name}`" for item in fields(settings) if item.metadata.get("axis")]
    if not axes:
        return ""
    return (
        f" More values of {tables.joined(axes)} are added to the same record; any other changed parameter starts a "
        "record of its own."
    )


def elsewhere(repository: str) -> str:
    """What to know before pressing one of the buttons."""
    text = (
        "**Without installing anything**, by the rocket at the top of this page: *Binder* starts a machine on which "
        "everything is installed; the first start takes many minutes."
    )
    if "colab_url" not in configuration(repository)["launch_buttons"]:
        return text
    folder = repository.rsplit("/", 1)[1]
    cell = f"!git clone --quiet --depth 1 {repository}\n%cd {folder}\n%pip install --quiet .[book]"
    return f"{text} *Colab* opens the notebook alone, so run this in a first cell:\n\n```\n{cell}\n```"


def _value(value: Any) -> str:
    """A value as it would be written after `--set name=`."""
    if value is None:
        return ALL
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)
