"""The same trainings as one would write them on a first day: nothing of the project's training loop is used.

Each function is a generator: every `next` trains for one epoch and gives its mean loss.
"""

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from cladec_core.networks import convolutions


def stock(model: nn.Module) -> nn.Module:
    """A copy of a model with PyTorch's own layers in place of those that the project made faster."""
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, convolutions.Conv2d | convolutions.ConvTranspose2d):
            part.__class__ = type(part).__base__
    return model


def classifier(model: nn.Module, images: Tensor, labels: Tensor, device: torch.device, batch: int) -> Iterator[float]:
    """Train a classifier in float32 from a DataLoader."""
    loader = DataLoader(TensorDataset(images, labels), batch, shuffle=True, drop_last=True)
    model.to(device).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    while True:
        total = 0.0
        for inputs, targets in loader:
            optimiser.zero_grad()
            loss = F.cross_entropy(model(inputs.to(device)), targets.to(device))
            loss.backward()
            optimiser.step()
            total += loss.item()
        yield total / len(loader)


def decoder(
    model: nn.Module,
    encoder: nn.Module,
    judge: nn.Module,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
    batch: int,
    alpha: float = 0.0,
) -> Iterator[float]:
    """Train a decoder with both losses of Eq. 1; the frozen encoder and the frozen classifier run in every step."""
    loader = DataLoader(TensorDataset(images, labels), batch, shuffle=True, drop_last=True)
    encoder.to(device).eval()
    judge.to(device).eval().requires_grad_(False)
    model.to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=1e-5)
    while True:
        total = 0.0
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            optimiser.zero_grad()
            with torch.no_grad():
                codes = encoder(inputs)
            output = model(codes)
            squares = (output - inputs).square().flatten(1).sum(1).mean()
            loss = (1 - alpha) * squares + alpha * F.cross_entropy(judge(output), targets)
            loss.backward()
            optimiser.step()
            total += loss.item()
        yield total / len(loader)


def autoencoder(model: nn.Module, images: Tensor, device: torch.device, batch: int) -> Iterator[float]:
    """Train a reference auto-encoder."""
    loader = DataLoader(TensorDataset(images), batch, shuffle=True, drop_last=True)
    model.to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=1e-5)
    while True:
        total = 0.0
        for (inputs,) in loader:
            inputs = inputs.to(device)
            optimiser.zero_grad()
            loss = (model(inputs) - inputs).square().flatten(1).sum(1).mean()
            loss.backward()
            optimiser.step()
            total += loss.item()
        yield total / len(loader)
