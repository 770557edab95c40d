"""The profiles, from the shortest to the paper's. Importing this module imports no torch.

What they say of images, networks, epochs and seeds is so in the chapter `layers`; the `settings.py` of each other
chapter says what is different there.
"""

PROFILES = {
    "smoke": "seconds, for tests: a thin network, a few images, no meaning",
    "quick": "the default: embedded digits, full-width networks, minutes on a CPU",
    "laptop": "the real Fashion-MNIST and MNIST, few epochs, hours on a CPU",
    "overnight": "all images, 16 epochs and one seed, a night or two on a CPU",
    "paper": "the paper's protocol: 64 epochs, 5 seeds, all data",
}
