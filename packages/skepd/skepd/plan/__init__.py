"""The pure planner: (definitions before, definitions after, what is, facts) -> steps."""

from .cache import Cache
from .observed import Observed
from .options import PlanOptions
from .planner import plan
from .slots import settle
from .steps import Plan, Step

__all__ = ["Cache", "Observed", "Plan", "PlanOptions", "Step", "plan", "settle"]
