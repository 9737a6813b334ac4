"""How far the tests look: little while one writes, the same twice on CI, further at night (HYPOTHESIS_PROFILE=dev, ci, night; brief counts branches)."""

import os
from typing import Final

_IS_CI: Final = os.environ.get("CI", "").lower() == "true"
PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _IS_CI else "dev")
IS_NIGHT: Final = PROFILE == "night"
