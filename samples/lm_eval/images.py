"""What `quire_samples.yaml` names: the images that are asked about, and what counts as a right answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SAMPLES = Path(__file__).parents[1]
IMAGES = (".png", ".jpg", ".webp")


def only_images(rows: Any) -> Any:
    """The rows about images: what this harness shows a model has one page."""
    return rows.filter(lambda row: row["document"].endswith(IMAGES))


def image(row: Mapping[str, Any]) -> list[Image.Image]:
    """The image that a row asks about."""
    return [Image.open(SAMPLES / row["document"]).convert("RGB")]


def score(row: Mapping[str, Any], answers: Sequence[str]) -> dict[str, float]:
    """1 for one of the expected answers, whatever their case."""
    return {"right": float(answers[0].strip().lower() in [one.lower() for one in row["answers"]])}
