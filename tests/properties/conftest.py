"""How long the property tests run: under a minute, or a night with HYPOTHESIS_PROFILE=soak.

HYPOTHESIS_PROFILE=known plays the same examples each time; who looks for new ones leaves it out.
"""

import os

from hypothesis import HealthCheck, settings

_DEFAULT = settings(
    deadline=None,  # a shared machine is slow at times
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("default", _DEFAULT)
settings.register_profile("soak", _DEFAULT, max_examples=20_000, stateful_step_count=120)
settings.register_profile("known", _DEFAULT, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
