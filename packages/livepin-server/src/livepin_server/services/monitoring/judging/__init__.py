"""What is wrong with an endpoint, by what apps accept: pure, without storage or clock.

`place` says which endpoint, `seeing` sorts what is held of it, `case` is that against one domain;
then a module for each thing that can be wrong. How findings are grouped is in `causes`.
"""

from .endpoint import judge
from .place import Place

__all__ = ["Place", "judge"]
