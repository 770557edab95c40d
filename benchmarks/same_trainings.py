"""Prove that the code here trains as that of an older commit does: `python -m benchmarks.same_trainings COMMIT`.

Small networks of every kind are trained with both (`few_trainings`), each in processes of its own with one thread and
with two: four classifiers (dropout, BatchNorm, shortcuts, max-pooling), decoders of vectors, maps and some channels,
with all losses and styles, references, evaluation classifiers, a classifier that is not trained; a training that is
interrupted and resumed, trainings side by side, and networks on vectors; with SGD and Adam, in float32, and in bf16
where the processor has it. Every weight, every statistic and the loss of every step must agree bit for bit. If they
do, the line for `engine.code.PROVED` is printed, and cells of both belong into one record.

What is proved holds for this device, this version of PyTorch and networks of these sizes. For others (CUDA and its
graphs, bf16, wide networks) it is as likely as the change is one that knows nothing of sizes and devices; so read the
change as well.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors.torch import load_file
from torch import Tensor

from benchmarks import few_trainings
from cladec_companion.commands.shared import told
from cladec_companion.records.files import ROOT
from cladec_core.errors import UsageError

THREADS = (1, 2)
Trained = tuple[dict[str, Any], dict[str, Tensor]]  # what was run, and its weights and losses


@told
def main(commit: Annotated[str, typer.Argument(help="Whose code the present one is compared with.")]) -> None:
    """Compare trainings of the present code with those of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        older = unpacked(commit, Path(folder) / "older")
        for threads in THREADS:
            before, now = (trained(root, Path(folder) / "trained", threads) for root in (older, ROOT))
            if differing := differences(before[1], now[1]):
                print(f"{threads} threads: {len(differing)} of {len(now[1])} tensors differ, such as {differing[0]}.")
                raise typer.Exit(1)
            print(f"{threads} threads: {len(now[1])} tensors agree bit for bit ({now[0]['on']}).", flush=True)
    if now[0]["digest"] == before[0]["counts as"]:
        print("The code that decides trainings is the same; PROVED needs no line.")
        return
    told_by = f"{datetime.now(UTC):%Y-%m-%d}, with {commit}"
    print(f'    "{now[0]["digest"]}": (\n        "{before[0]["counts as"]}",\n        "{told_by}",\n    ),')


def unpacked(commit: str, folder: Path) -> Path:
    """Put the packages as they are in a commit into a folder.

    Raises
    ------
    UsageError
        If there is no such commit here.
    """
    archive = subprocess.run(
        ["git", "archive", commit, "cladec_core", "cladec_companion"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        raise UsageError(f"No code of commit {commit!r}: {archive.stderr.decode().strip()}; valid: what git log names.")
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def trained(root: Path, path: Path, threads: int) -> Trained:
    """Run `few_trainings` with the packages in a folder."""
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-P", few_trainings.__file__, str(path)]
    ran = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    about: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert Path(about["code"]).is_relative_to(root), about["code"]  # or the packages of another folder were imported
    return about, load_file(path)


def differences(before: dict[str, Tensor], now: dict[str, Tensor]) -> list[str]:
    """Name what is not the same bit for bit, or is in one of both alone."""
    names = sorted(before.keys() | now.keys())
    return [name for name in names if name not in before or name not in now or not _same(before[name], now[name])]


def _same(first: Tensor, second: Tensor) -> bool:
    alike = (first.shape, first.dtype) == (second.shape, second.dtype)
    return alike and first.numpy().tobytes() == second.numpy().tobytes()  # 0 is not -0, and NaN is itself


if __name__ == "__main__":
    typer.run(main)
