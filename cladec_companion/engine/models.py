"""Trained networks: each is trained once, kept in memory for the cells of a run and on disk for all others."""

import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from cladec_companion.engine.trainings import Training
from cladec_companion.records.files import replacing, sweep
from cladec_companion.records.samples import fingerprint
from cladec_core import training
from cladec_core.training import History, Job

Result = TypeVar("Result")
Jobs = Generator[Job, History, Result]  # asks for trainings one after the other, and returns what they were for


class Models:
    """The networks around one data set, architecture and seed.

    Parameters
    ----------
    cache
        Folder for trained networks, or None to keep nothing on disk.
    progress
        Show progress bars.
    seed
        Of the run; networks of another seed are recorded with theirs.
    interrupt
        Asked between the steps of a training; True ends it with its state kept (`training.Interrupted`).
    told
        Called with label and seed of each network that others may need, as soon as they can have it.

    Attributes
    ----------
    seconds : dict
        Of each training that was done here since `begin`, by label (claim B50).
    classifiers : dict
        Fingerprints of the classifiers to explain that were asked for since `begin`: cells that can be compared
        explain the same one.
    states : list
        Files with the states of trainings since `begin`; of no use once what they were for is recorded.
    """

    def __init__(
        self,
        cache: Path | None = None,
        progress: bool = False,
        interrupt: Callable[[], bool] | None = None,
        told: Callable[[str, int], None] = lambda label, seed: None,
        seed: int | None = None,
    ) -> None:
        self.seed = seed
        self.cache, self.progress, self.interrupt, self.told = cache, progress, interrupt, told
        if cache is not None:
            sweep(cache)
        self.seconds: dict[str, float] = {}
        self.classifiers: dict[str, str] = {}
        self.states: list[Path] = []
        self._kept: dict[str, nn.Module] = {}

    def begin(self) -> None:
        """Forget what the last cell took and explained."""
        self.seconds, self.classifiers, self.states = {}, {}, []

    def train(self, wanted: Training) -> nn.Module:
        """Train one network, and what it needs, by itself.

        Raises
        ------
        RunError
            If a training diverges.
        """
        (network,) = side_by_side([self.jobs(wanted)])
        return network

    def have(self, wanted: Training, network: nn.Module) -> None:
        """Take a network in the place of a training."""
        self._kept[wanted.key] = network

    def jobs(self, wanted: Training) -> Jobs[nn.Module]:
        """Ask for the trainings of a network and of those that it needs, as far as they are not done yet.

        Returns
        -------
        Module
            What `Training.finish` makes of the network; the attribute `history` has the mean loss of each epoch.
        """
        if wanted.key in self._kept:
            return self._given(wanted, self._kept[wanted.key])
        needed = []
        for other in wanted.needs:
            needed.append((yield from self.jobs(other)))
        began = time.perf_counter()
        network = wanted.build(*needed)
        path = self.cache / f"{wanted.key}.pt" if self.cache and wanted.kept else None
        history = self._load(network, path, wanted) if path else None
        if history is None:
            job, history = wanted.job(network, *needed), History()
            if job is not None:
                history = yield replace(job, **self._how(wanted))
                foreign = self.seed is not None and wanted.setup.seed != self.seed
                label = f"{wanted.label} of seed {wanted.setup.seed}" if foreign else wanted.label
                before = self.seconds.get(label, 0)  # a cell may have two classifiers
                self.seconds[label] = round(before + time.perf_counter() - began, 2)
                del job
            if path:
                self._save(network, history, path, wanted)
        finished = wanted.finish(network, *needed)
        finished.history = history  # type: ignore[assignment]  # torch takes every attribute for a part
        if wanted.kept:
            self._kept[wanted.key] = finished
            self.told(wanted.label, wanted.setup.seed)
        return self._given(wanted, finished)

    def _given(self, wanted: Training, network: nn.Module) -> nn.Module:
        """Note a classifier that is explained."""
        if wanted.explained:
            weights = {name: part.detach().cpu().numpy() for name, part in network.state_dict().items()}
            self.classifiers[wanted.identity] = fingerprint(weights)
        return network

    def _how(self, wanted: Training) -> dict[str, Any]:
        """What a training is told beside what decides its weights.

        A training that no cache will keep leaves its finished state, so that a cell which is killed later takes the
        network from there.
        """
        state = self.cache / f"{wanted.key}.state" if self.cache else None
        self.states += [state] if state else []
        told = {"progress": self.progress, "interrupt": self.interrupt, "state": state}
        return told | {"keep_finished": state is not None and not wanted.kept}

    def _load(self, network: nn.Module, path: Path, wanted: Training) -> History | None:
        """Take the weights of an earlier training; None if there are none that can be used."""
        if not path.exists():
            return None
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
            weights, history = kept["weights"], History(kept["history"])
            history.steps = kept["steps"]
            if kept["digest"] != _digest(weights, history):
                raise ValueError("it does not fit its digest")
            if _shapes(weights) != _shapes(network.state_dict()):
                raise ValueError("it holds another network")
        except Exception as error:  # whatever torch raises for bytes that are not what they were
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            warnings.warn(f"{wanted.label} is trained again: {path} cannot be read ({reason})", stacklevel=2)
            return None
        network.load_state_dict(weights)  # from here on nothing fails: a part of them would be a wrong start
        training.moved(network, wanted.setup.on).eval()
        return history

    def _save(self, network: nn.Module, history: History, path: Path, wanted: Training) -> None:
        weights = network.state_dict()
        content = {"weights": weights, "history": [*history], "steps": history.steps}
        try:
            with replacing(path) as temporary:
                torch.save({**content, "digest": _digest(weights, history)}, temporary)
        except (OSError, RuntimeError) as error:  # a full disk; torch names it in either way
            warnings.warn(f"{wanted.label} is trained, but not kept in {self.cache}: {error}", stacklevel=2)


def _digest(weights: Mapping[str, torch.Tensor], history: History) -> str:
    """Digest of what the file of a network holds."""
    arrays = {f"weights {name}": part.detach().cpu().numpy() for name, part in weights.items()}
    losses = {"history": np.array([*history], float), "steps": np.array(history.steps, float)}
    return fingerprint(arrays | losses)


def _shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (part.shape, part.dtype) for name, part in weights.items()}


def side_by_side(tasks: Sequence[Jobs[Any]]) -> list[Any]:
    """Run tasks that ask for trainings; those asked for at the same time are given to `training.fit_many`.

    Whatever a task does between its trainings is done while no other runs. So each gives what it gives alone: the
    random state and the device are never shared by two.

    Raises
    ------
    Exception
        Of the first task that fails, or of its training; all others are given up.
    """
    results: dict[int, Any] = {}
    waiting: dict[int, Job] = {}

    def advance(place: int, history: History | None) -> None:
        try:
            waiting[place] = next(tasks[place]) if history is None else tasks[place].send(history)
        except StopIteration as end:
            results[place] = end.value

    try:
        for place in range(len(tasks)):
            advance(place, None)
        while waiting:
            places, jobs = list(waiting), list(waiting.values())
            waiting.clear()
            histories = [training.fit(jobs[0])] if len(tasks) == 1 else training.fit_many(jobs)
            for place, history in zip(places, histories, strict=True):
                advance(place, history)
    finally:
        for task in tasks:
            task.close()
    return [results[place] for place in range(len(tasks))]
