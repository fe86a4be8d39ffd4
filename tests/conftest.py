"""What all tests share: how hypothesis draws its examples."""

import os

from hypothesis import HealthCheck, settings

# The gate gives the same answer to the same source, on a busy machine too: examples are drawn from the test's own
# text, and neither they nor a test have a time limit. LIS_EXPLORE=1 draws others every time.
settings.register_profile(
    "gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("gate"), derandomize=False, print_blob=True)
settings.load_profile("explore" if os.environ.get("LIS_EXPLORE") else "gate")
