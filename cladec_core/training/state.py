"""The state of a training in a file: written now and then, read once, and never trusted without a look.

A file is one line of JSON about the rest (its digest, the training's key, how far it is), then tensors as safetensors.
Nothing in it is executed when it is read.
"""

import dataclasses
import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core import data, networks
from cladec_core.training.job import Job

FORMAT = 1


class Interrupted(Exception):
    """A training ended before its time because its job's `interrupt` said so; its state is kept, if it has a file."""


class State:
    """The file of one training.

    Whatever goes wrong with the file costs a warning, and at worst the time that the state would have saved.

    Attributes
    ----------
    key
        Digest of everything that decides the training: a state with another key is not its own.
    """

    def __init__(self, job: Job) -> None:
        assert job.state is not None
        self.path, self.label, self.every = job.state, job.label, job.save_every
        self.key = key_of(job)
        self.last = time.monotonic()
        self.failed = False

    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self.last >= self.every

    def read(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What was written, as (facts, tensors); None, with a warning if there is a file, where nothing is of use."""
        try:
            with open(self.path, "rb") as file:
                facts, tensors = json.loads(file.readline()), file.read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._useless(f"it cannot be read ({error})")
            return None
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            self._useless("it is no state of this version")
        elif facts.get("digest") != _digest(facts, tensors):
            self._useless("it is damaged")
        elif facts["key"] != self.key:
            self._useless("it belongs to another training")
        else:
            from safetensors.torch import load  # a package that training can do without

            return facts, load(tensors)
        return None

    def _useless(self, reason: str) -> None:
        warnings.warn(
            f"{self.label}: the state in {self.path} is not used, as {reason}; training from the start", stacklevel=2
        )

    def write(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the file in one move, so that at any moment a whole state lies there."""
        draft = self._draft
        try:
            from safetensors.torch import save

            payload = save({name: _on_cpu(tensor) for name, tensor in tensors.items()})
            facts = {"format": FORMAT, "key": self.key, "label": self.label, **facts}
            facts["digest"] = _digest(facts, payload)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(draft, "wb") as file:
                file.write(json.dumps(facts).encode() + b"\n")
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        except (OSError, ImportError) as error:
            if not self.failed:
                warnings.warn(f"{self.label}: no state is kept ({error}); a stop would cost its time", stacklevel=2)
            self.failed = True
            _remove(draft)
        self.last = time.monotonic()

    @property
    def _draft(self) -> Path:
        return self.path.with_name(f"{self.path.name}.tmp")

    def delete(self) -> None:
        """Remove the file, and what a process that was killed had half written."""
        _remove(self.path)
        _remove(self._draft)


def progress_of(path: Path) -> dict[str, Any] | None:
    """How far a training is, as its file says: `label`, `done` and `steps`; None if the file says nothing of use."""
    try:
        with open(path, "rb") as file:
            facts = json.loads(file.readline(1 << 16))
        return {name: facts[name] for name in ("label", "done", "steps")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def key_of(job: Job) -> str:
    """Digest of everything that decides a training: weights, data, order, arithmetic, and the source of all of it."""
    digest = hashlib.sha256()
    on = (job.on.description, torch.backends.cpu.get_cpu_capability(), job.on.graph, torch.__version__)
    plan = (job.recipe, job.epochs, job.batch_size, job.seed, job.opponent)
    weights = [(name, tensor, tensor.requires_grad) for name, tensor in _named(job.networks)]
    for part in _flat([on, plan, str(job.model), weights, job.inputs, job.targets, job.loss, job.stop, _sources()]):
        digest.update(part)
    return digest.hexdigest()


def _named(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _sources() -> list[str]:
    """Digest of every source file of the rooms that decide what a training gives."""
    rooms = (Path(room).parent for room in (data.__file__, networks.__file__, __file__))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for room in rooms for path in sorted(room.glob("*.py"))]


def _flat(value: Any) -> Iterator[bytes]:
    """Everything that a value is made of, as bytes. Functions count by their code and by what they refer to."""
    yield type(value).__qualname__.encode()
    if isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        for part in value.detach().split(1024) if value.ndim else (value.detach(),):
            yield _on_cpu(part).flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, nn.Module):
        yield from _flat([str(value), value.training, *_named(value)])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _flat([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, dict):
        yield from _flat(list(value.items()))
    elif isinstance(value, list | tuple):
        yield str(len(value)).encode()
        for part in value:
            yield from _flat(part)
    elif isinstance(value, CodeType):
        yield value.co_code
        yield from _flat([value.co_names, value.co_consts])
    elif hasattr(value, "__code__"):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        yield from _flat([value.__qualname__, value.__code__, value.__defaults__, cells, getattr(value, "__self__", 0)])
    elif isinstance(value, partial):
        yield from _flat([value.func, value.args, value.keywords])
    else:
        inherited: Any = object.__repr__  # which shows an address
        yield (repr(value) if type(value).__repr__ is not inherited else type(value).__module__).encode()


def _on_cpu(tensor: Tensor) -> Tensor:
    """A copy in rows' order that shares nothing."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _digest(facts: dict[str, Any], payload: bytes) -> str:
    about = json.dumps({name: value for name, value in facts.items() if name != "digest"}, sort_keys=True)
    digest = hashlib.sha256(about.encode())
    digest.update(payload)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(f"{path} cannot be deleted ({error})", stacklevel=3)
