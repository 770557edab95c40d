"""Plugin of the nbval runs: their kernels are reached as those of papermill are."""

from functools import partial

import nbval.kernel

from cladec_companion.book.build import kernel_sockets

nbval.kernel.KernelManager = partial(nbval.kernel.KernelManager, config=kernel_sockets())
