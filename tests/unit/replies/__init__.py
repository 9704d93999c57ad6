"""Raw replies of guest agents and what is made of them, as data: see `case.py` for how to read a row."""

from tests.unit.replies.case import Case
from tests.unit.replies.failing import FAILING
from tests.unit.replies.hostile import HOSTILE
from tests.unit.replies.systems import SYSTEMS

__all__ = ["FAILING", "HOSTILE", "SYSTEMS", "Case"]
