"""Where and in which precision arithmetic happens, and what makes it repeatable."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cladec_core.errors import UsageError, one_of


@dataclass(frozen=True)
class Compute:
    """Where and in which precision the arithmetic happens.

    Attributes
    ----------
    device, dtype
        `dtype` is the precision of the networks' arithmetic; weights and losses are float32.
    deterministic
        Whether a training repeats bit for bit on the same machine. On a CPU it always does, with the same number
        of threads.
    graph
        Whether training steps are replayed from a CUDA graph.
    """

    device: torch.device
    dtype: torch.dtype
    deterministic: bool = True
    graph: bool = False

    @property
    def description(self) -> str:
        """One line for a manifest with device, its name, a CPU's instruction set, precision and CPU threads."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _cpu_name()
        precision = str(self.dtype).removeprefix("torch.")
        free = "" if self.deterministic else ", not deterministic"
        kind = f", {torch.backends.cpu.get_cpu_capability()}" if self.device.type == "cpu" else ""
        threads = torch.get_num_threads()
        return f"{self.device.type} ({name}{kind}), {precision}, {threads} thread{'s' if threads > 1 else ''}{free}"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()


def compute(device: str = "auto") -> Compute:
    """Choose the device, and bf16 where the hardware has it natively.

    In the environment, `CLADEC_PRECISION=float32` keeps bf16 out, such as to go on with a record that was begun on a
    processor without it, and `CLADEC_DETERMINISTIC=0` lets CUDA use algorithms that may be faster and do not repeat
    bit for bit; a manifest says so.

    Parameters
    ----------
    device
        "auto" (CUDA, then MPS, then the CPU) or a name that torch knows.

    Raises
    ------
    UsageError
        If the device does not exist here, or `CLADEC_PRECISION` is no precision.
    """
    available = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    if device == "auto":
        device = "cuda" if "cuda:0" in available else available[-1]
    if device not in [*available, "cuda"] or (device == "cuda" and "cuda:0" not in available):
        raise UsageError(f"No device {device!r} on this machine; valid: auto, {', '.join(available)}.")
    chosen = torch.device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to repeat its results
    native: dict[str, Callable[[], bool]] = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": _cpu_has_bf16,
    }
    precision = os.environ.get("CLADEC_PRECISION") or "auto"
    one_of("CLADEC_PRECISION", precision, ("auto", "float32"))
    dtype = torch.bfloat16 if precision == "auto" and native.get(chosen.type, bool)() else torch.float32
    deterministic = os.environ.get("CLADEC_DETERMINISTIC") != "0"
    return Compute(chosen, dtype, deterministic, graph=chosen.type == "cuda")


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself.

    oneDNN says so of every processor with AVX512, on most of which it emulates bf16, several times slower than float32.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if not torch.cpu._is_avx512_supported():  # another architecture, of which oneDNN knows
        return True
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def derive_seed(seed: int, *labels: object) -> int:
    """A seed of its own for each training of a run, so that none depends on which others ran before it."""
    text = "/".join(str(label) for label in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for a block (initial weights, dropout) and put it back afterwards."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # named, as torch warns of several it finds itself
        torch.manual_seed(seed)
        yield


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute in float32 as it is for a block: CUDA's convolutions round to TF32's 10 bits unless told not to."""
    backends: Any = torch.backends  # some parts are made at run time, where no type checker sees them
    kinds = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


@contextmanager
def random_numbers(own: torch.Generator) -> Iterator[None]:
    """Let a device's default generator go on from another one's state for a block, and that one from there."""
    if own.device.type == "cuda":
        # The states themselves change places: a graph keeps drawing from the one that it was captured with.
        default = torch.cuda.default_generators[own.device.index]
        outside = default.graphsafe_get_state()
        default.graphsafe_set_state(own)
        try:
            yield
        finally:
            default.graphsafe_set_state(outside)
        return
    module = torch if own.device.type == "cpu" else torch.get_device_module(own.device)
    outside = module.get_rng_state()
    module.set_rng_state(own.get_state())
    try:
        yield
    finally:
        own.set_state(module.get_rng_state())
        module.set_rng_state(outside)


@contextmanager
def repeatable(on: Compute) -> Iterator[None]:
    """Allow only algorithms that repeat bit for bit, if `on` says so. A CPU has no others here."""
    if on.device.type != "cuda":
        yield
        return
    filling: Any = torch.utils.deterministic  # its attribute is made at run time, where no type checker sees it
    before = (
        torch.get_deterministic_debug_mode(),
        filling.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )

    def choose(mode: int | str, fill: bool, benchmark: bool) -> None:
        torch.set_deterministic_debug_mode(mode)
        filling.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark

    # An operation without such an algorithm is named in a warning. Filling fresh memory, a help for debugging,
    # would cost a kernel for each tensor. Without `deterministic`, cuDNN may take what it finds fastest.
    choose("warn" if on.deterministic else "default", False, not on.deterministic)
    try:
        yield
    finally:
        choose(*before)


def moved(model: nn.Module, on: Compute) -> nn.Module:
    """Move a model to a device, in place, with the weights of convolutions in channels-last order."""
    # torch's own overloads leave this argument out.
    model.to(on.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def precision(on: Compute) -> torch.autocast:
    """Autocast to the precision of `on`."""
    return torch.autocast(on.device.type, dtype=on.dtype, enabled=on.dtype != torch.float32)
