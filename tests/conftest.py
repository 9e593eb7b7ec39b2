"""What every test runs under: one thread, no hub, the same examples each run; GPU tests skip without one."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.environment import PATIENT_RAY

# Before anything imports torch, ray or a hub client; Ray's workers inherit it.
os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        # A Replica has several threads all the same. Beside other tests, those that wait must not spin: the
        # one that they wait for has no CPU then, and a page of nano took two to four times as long.
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **PATIENT_RAY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
)

# The GPU's kernels run on a CPU too, in Triton's interpreter.
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"

# A loaded machine must not fail a property; derandomized, so that a red run is red again.
settings.register_profile("quire", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("quire")
settings.register_profile("soak", deadline=None, max_examples=2_000, print_blob=True)  # other ones each run


COLLECTED = pytest.StashKey[list[pytest.Item]]()  # all tests, before markers choose among them


def pytest_configure() -> None:
    """Ctrl-C works in what the tests start, as it does at a terminal: a shell's background job ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = list(items)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose program is not installed; in CI, which installs all of them, it fails."""
    for marker in item.iter_markers("program"):
        (name,) = marker.args
        if shutil.which(name) is None:
            reason = f"the program {name} is not installed (.ci/run says from which package it comes)"
            (pytest.fail if os.environ.get("QUIRE_PROGRAMS") == "required" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Pixtral with random weights and nano's tokenizer, which sees 128 pixels, in no time."""
    from model.checkpoint import save_model
    from tests.model.tiny import tiny_pixtral

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_model(tiny_pixtral(vocab_size=3048), folder)
    shutil.copy(Path(__file__).parents[1] / "model" / "nano" / "tekken.json", folder)
    return folder


@pytest.fixture(scope="session")
def one_cpu_ray() -> Iterator[None]:
    """A private Ray with a single CPU, on which the stages must not wait for one another."""
    import ray

    from jobs.run.ray_session import connected

    token = Path.home() / ".ray" / "auth_token"
    had_token = token.exists()
    with connected(num_cpus=1):
        assert ray.cluster_resources()["CPU"] == 1
        assert token.exists() == had_token, "Ray left a token behind"
        yield
