"""A simulated host in memory: the same contract as a real one, with faults on demand."""

from .faults import Died, Fault
from .guests import Behaviour
from .host import SimHost

__all__ = ["Behaviour", "Died", "Fault", "SimHost"]
