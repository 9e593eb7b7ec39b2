"""The environments of the programs that tests start."""

import os

# Ray's workers would yield to every other process: beside two that are busy they get a thirtieth of a core.
PATIENT_RAY = {"RAY_worker_niceness": "0"}


def without_ray() -> dict[str, str]:
    """This process's, as it would be beside no Ray: a job started in it has one of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | PATIENT_RAY
