"""How far tests look (HYPOTHESIS_PROFILE): dev while one writes, ci the same twice, night far, brief for branches alone."""

import os
from typing import Final

_IS_CI: Final = os.environ.get("CI", "").lower() == "true"
PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _IS_CI else "dev")
IS_NIGHT: Final = PROFILE == "night"
