from .around import FILLS as FILLS
from .around import Around as Around
from .call import attribute as attribute
from .methods import METHODS as METHODS
from .methods import Method as Method
