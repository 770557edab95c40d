"""The commands of a study with participants: `cladec study export` and `cladec study analyse`."""

from pathlib import Path
from typing import Annotated

import typer

from cladec_companion.commands.shared import DataDir, Device, Profile, check_profile, of_a_checkout, path, text, told

study = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown",
    help="The user study of section 6.7 as a kit. Example: `cladec study export --out study --profile laptop`",
)  # fmt: skip


@study.command()
@told
@of_a_checkout
def export(
    out: Annotated[Path, typer.Option(parser=path, metavar="FOLDER", help="Folder to make; it must not exist.")],
    profile: Profile = "quick",
    dataset: Annotated[
        str | None, typer.Option(parser=text, metavar="NAME", help="Default: the profile's first.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Number of image pairs, equally many of each class.")] = None,
    participants: Annotated[int | None, typer.Option(help="How many participants to prepare for.")] = None,
    pairs: Annotated[int | None, typer.Option(help="Number of pairs for each participant.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides images, assignment and training.")] = None,
    reference: Annotated[bool, typer.Option(help="Show the RefAE's image, too.")] = False,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Make a study: pairs of images, who sees which, and one form that works offline.

    Example: `cladec study export --out study --profile laptop --participants 24`
    """
    check_profile(profile)
    import sys

    from cladec_companion.papers import with_participants

    chapter = with_participants()
    settings = chapter.settings_for(profile, images=images, participants=participants, pairs=pairs, seed=seed)
    chapter.kit.export(
        settings, out, dataset=dataset, reference=reference, data_dir=data_dir, device=device,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    print(f"{out / 'form.html'}: hand out this file and numbers from 1 to {settings.participants}.")


@study.command()
@told
@of_a_checkout
def analyse(
    folder: Annotated[Path, typer.Argument(parser=path, help="Made by `cladec study export`.")],
    answers: Annotated[Path, typer.Option(parser=path, metavar="FOLDER", help="Files that participants saved.")],
    codes: Annotated[
        list[Path] | None, typer.Option(parser=path, metavar="FILE", help="A coder's sheet; twice for two coders.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="FOLDER", help="Folder to make (default: in the study's).")
    ] = None,
) -> None:
    """Check the answers and write a blank coding sheet; with coded sheets, count concepts beside the paper's.

    Example: `cladec study analyse study --answers answers --codes first.csv --codes second.csv`
    """
    from cladec_companion.papers import with_participants

    made, lines = with_participants().kit.analyse(folder, answers, codes or [], out)
    print("\n".join([*lines, str(made)]))
