"""A CUDA device that is not there: its tensors are on the CPU, and code that could not run on the real one fails.

What a device would refuse is refused: an operation on tensors of both sides, and NumPy's view of the device's memory.
Streams, graphs and generators stand still: of these, only the calls are seen. Within a backward pass nothing is
refused: torch makes gradients there as plain tensors.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from cladec_core.training import graphs

DEVICE = torch.device("cuda", 0)
# What takes tensors of both sides: copies, and indices that are on the CPU.
MIXES = {Tensor.copy_, Tensor.__setitem__, Tensor.to, Tensor.type_as, Tensor.module_load}
READS = {Tensor.__getitem__, Tensor.index_put_}


class OnDevice(Tensor):
    """A tensor that says it is on the device."""

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        with torch._C.DisableTorchFunctionSubclass():
            tensors = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
            strangers = [part for part in tensors if part.ndim and not isinstance(part, OnDevice)]
        reads = function in READS and isinstance(args[0], OnDevice)
        name = getattr(function, "__name__", "")
        internal = name in ("__get__", "__set__") or name[:1] == "_" != name[1:2]  # attributes, torch's optimisers
        if strangers and not (internal or function in MIXES or reads):
            raise RuntimeError(f"Expected all tensors to be on the same device, cuda:0 and cpu found in {function}")
        found = super().__torch_function__(function, types, args, kwargs)
        # torch returns a gradient as it is, and made it as a plain tensor.
        return _sent(found) if function == Tensor.grad.__get__ and found is not None else found

    def detach(self) -> "OnDevice":
        """As a device's, also where torch makes a parameter of it within a backward hook, which knows no subclass."""
        return _sent(super().detach())

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnDevice":
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        copied.__dict__.update(self.__dict__)  # whether it is a parameter
        return memo.setdefault(id(self), copied)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A file keeps plain tensors."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor).__reduce_ex__(protocol)


def _named(device: Any) -> bool:
    return isinstance(device, str | torch.device) and torch.device(device).type == "cuda"


class _Device(TorchFunctionMode):
    """Send what is made on the device, or moved there and back, where it belongs."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(function, args, kwargs)
        if not _named(kwargs.get("device")):
            return function(*args, **kwargs)
        kwargs["device"] = "cpu"
        return _sent(function(*args, **kwargs))

    def _moved(self, function: Any, args: Any, kwargs: Any) -> Tensor:
        tensor, *others = args
        if "meta" in map(str, (*others, kwargs.get("device"))):  # where shapes alone are counted
            return function(*args, **kwargs)
        wanted = [part for part in (*others, kwargs.pop("device", None)) if isinstance(part, str | torch.device)]
        wanted += [part.device for part in others if isinstance(part, Tensor)]
        others = [part for part in others if isinstance(part, torch.dtype)]
        if function is Tensor.cpu:
            wanted = ["cpu"]
        there = isinstance(tensor, OnDevice)
        goes = _named(wanted[0]) if wanted else there
        kwargs.pop("non_blocking", None)
        if others or kwargs:
            tensor = tensor.to(*others, **kwargs)
        if goes == there:
            return tensor
        return _sent(tensor.clone()) if goes else _back(tensor)


def _sent(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(OnDevice)


def _back(tensor: Tensor) -> Tensor:
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.clone().as_subclass(Tensor)


class _Stream:
    def __init__(self, *_: Any) -> None:
        pass

    def wait_stream(self, other: "_Stream") -> None:
        """Nothing runs at its own pace here."""

    def is_capturing(self) -> bool:
        """Nothing is captured."""
        return False


class _Generator:
    def __new__(cls, *_: Any, **__: Any) -> torch.Generator:
        return torch._C.Generator()


def _run(thread: threading.Thread, run: Callable[[threading.Thread], None] = threading.Thread.run) -> None:
    with _Device():  # a mode is known to one thread only
        run(thread)


@contextmanager
def pretend_cuda() -> Iterator[None]:
    """Within the block torch has one CUDA device, without bf16."""
    cuda = {
        "is_available": lambda: True, "device_count": lambda: 1, "get_device_name": lambda *_: "pretended",
        "is_bf16_supported": lambda **_: False, "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_: None, "Stream": _Stream, "current_stream": _Stream,
        "stream": lambda _: nullcontext(), "empty_cache": lambda: None, "mem_get_info": lambda *_: (2**33, 2**33),
        "max_memory_allocated": lambda *_: 0, "memory_allocated": lambda *_: 0, "synchronize": lambda *_: None,
        "reset_peak_memory_stats": lambda *_: None, "is_current_stream_capturing": lambda: False,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cuda.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch.accelerator, "current_stream", _Stream)
        patch.setattr(torch.accelerator, "synchronize", lambda *_: None)
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(threading.Thread, "run", _run)
        patch.setattr(graphs, "record", lambda work: work)
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            with _Device():
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)
