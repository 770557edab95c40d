"""What a method may need beside the network: the range of pixels, images of the data set, decoders."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from cladec_core.errors import UsageError, one_of

FILLS = ("black", "mean", "blur", "refae")
# Standard deviation in pixels: with it a digit is at chance. The book's 10 of 224 pixels, 1.4 of ours, erase none.
BLUR = 8.0
PASSES = 2  # of the auto-encoder over what is left of an image: the first sees the mean in the hole


@dataclass(frozen=True, eq=False)
class Around:
    """What is known of the images that a network classifies, and what was trained beside it.

    Attributes
    ----------
    images
        Training images, (n, channels, height, width), as the network takes them.
    layer
        Of the network, for GradCAM.
    decoder
        ClaDec: maps images to reconstructions from that layer.
    reference
        The RefAE: maps images to reconstructions.
    seed
        Decides everything that is drawn.
    """

    images: Tensor
    layer: str | None = None
    decoder: nn.Module | None = None
    reference: nn.Module | None = None
    seed: int = 0
    remembered: dict[str, object] = field(default_factory=dict, repr=False)

    @cached_property
    def low(self) -> Tensor:
        """The smallest value of each channel, (1, channels, 1, 1): a black pixel."""
        return self.images.amin((0, 2, 3), keepdim=True)

    @cached_property
    def high(self) -> Tensor:
        """The largest value of each channel, (1, channels, 1, 1)."""
        return self.images.amax((0, 2, 3), keepdim=True)

    @cached_property
    def mean(self) -> Tensor:
        """The mean of each channel, (1, channels, 1, 1): a grey pixel."""
        return self.images.mean((0, 2, 3), keepdim=True)

    def baseline(self, name: str | Tensor, images: Tensor) -> Tensor:
        """An image without information for each of some images: `black`, `mean`, `blur`, or one that is given.

        Raises
        ------
        UsageError
            For another name, or an image of another shape.
        """
        if isinstance(name, Tensor):
            if name.shape not in (images.shape, images.shape[1:], (1, *images.shape[1:])):
                raise UsageError(
                    f"The baseline has shape {tuple(name.shape)}; valid: {tuple(images.shape)} or "
                    f"{tuple(images.shape[1:])}, as the images."
                )
            return name.expand_as(images).contiguous()
        one_of("baseline", name, ("black", "mean", "blur"))
        if name == "blur":
            return blurred(images)
        return (self.low if name == "black" else self.mean).expand_as(images).contiguous()

    @torch.no_grad()
    def filling(self, images: Tensor, hidden: Tensor, fill: str) -> Tensor:
        """What stands where pixels are hidden.

        Parameters
        ----------
        images
            (n, channels, height, width).
        hidden
            The share of each pixel that is replaced, (n, 1, height, width), in [0, 1].
        fill
            One of `FILLS`; `refae` is what the RefAE makes of the image where the hidden part is first the mean, and
            then what the RefAE had made of it before.

        Raises
        ------
        UsageError
            For another fill, or `refae` where there is no RefAE.
        """
        one_of("fill", fill, FILLS)
        if fill != "refae":
            return self.baseline(fill, images)
        if self.reference is None:
            raise UsageError(f"The fill 'refae' needs a reference auto-encoder; valid without: {', '.join(FILLS[:3])}.")
        made = self.mean.expand_as(images)
        for _ in range(PASSES):
            made = self.reference(images + hidden * (made - images))
        return made

    def filled(self, images: Tensor, hidden: Tensor, fill: str) -> Tensor:
        """Images with some of their pixels replaced (see `filling`); `hidden` may be true and false, too."""
        share = hidden.to(images.dtype)
        return images + share * (self.filling(images, share.detach(), fill) - images)


def blurred(images: Tensor, width: float = BLUR) -> Tensor:
    """Images behind frosted glass: a Gaussian of some pixels' standard deviation, (n, channels, height, width)."""
    from torchvision.transforms.functional import gaussian_blur  # takes seconds to import; names alone need none

    reach = min(2 * int(3 * width) + 1, 2 * (min(images.shape[-2:]) // 2) - 1)
    return gaussian_blur(images, [reach, reach], [width, width])
