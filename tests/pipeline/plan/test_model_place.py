"""What a model is called, by what --model says."""

from pathlib import Path

import pytest

from pipeline.plan.model_place import model_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mistralai/Pixtral-12B-2409", "mistralai/Pixtral-12B-2409"),
        ("owner/name@v1", "owner/name"),
        ("owner/name@refs/pr/5", "owner/name"),
        ("model/nano", "nano"),
        ("model/nano/", "nano"),
        ("/models/Pixtral@home", "Pixtral@home"),
        (".", Path.cwd().name),
    ],
)
def test_a_model_has_the_name_of_its_repository_or_of_its_folder(given: str, name: str) -> None:
    assert model_name(given) == name
