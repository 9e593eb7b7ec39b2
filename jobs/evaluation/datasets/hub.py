"""Data sets of the hub, through huggingface_hub's cache (HF_HOME) and its address (HF_ENDPOINT)."""

from collections.abc import Sequence
from typing import Final

ANY: Final = ("*.parquet", "*.jsonl", "*.json", "*.pdf")


def download(name: str, files: Sequence[str] | None) -> str:
    """The folder with a snapshot of these files of a data set. Raises ValueError: no such, no connection."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        folder = huggingface_hub.snapshot_download(
            name, repo_type="dataset", allow_patterns=list(files or ANY)
        )
    except errors.GatedRepoError as error:
        raise ValueError(
            f"{name} is a gated data set: accept its terms on the hub, and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"the hub has no data set {name}, or it is private and HF_TOKEN is not set"
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"the data set {name} cannot be downloaded: {' '.join(str(error).split())}"
        ) from error
    return str(folder)
