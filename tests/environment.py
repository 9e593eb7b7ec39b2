"""The environments of the programs that tests start."""

import os


def without_ray() -> dict[str, str]:
    """This process's, as it would be beside no Ray: a job started in it has one of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
