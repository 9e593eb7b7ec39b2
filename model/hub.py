"""A checkpoint by its name on the Hugging Face hub: owner/name, or owner/name@revision.

In: the name. Out: a `HubModel`, which is one commit of it, and whose files come into the hub's cache on this
machine (HF_HOME) when they are asked for. It travels to every machine of a run, so that a branch that moves
meanwhile gives no second model. HF_ENDPOINT and HF_TOKEN are honoured. Without a connection, what the cache
holds is used. All that fails is a HubError of one sentence. Only the files of a checkpoint are fetched, and
of the weights only safetensors: other formats can run code.
"""

import errno
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from model.checkpoint_files import indexed_files

TOKENIZER: Final = "tekken.json"
# Each layout's configuration, and how its weights are called; Mistral's is taken where a repository has both.
LAYOUTS: Final = (("params.json", "consolidated"), ("config.json", "model"))
_NAME: Final = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*?)(?:@([\w./-]+))?")
_GIB: Final = 2**30

_log = logging.getLogger(__name__)


class HubError(ValueError):
    """A model that cannot be had by its name. One sentence."""

    def __init__(self, message: str, *, is_outage: bool = False) -> None:
        super().__init__(message)
        self.is_outage = is_outage
        """Whether the hub, or the way to it, is at fault; not so where the name may be a folder's."""


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """One commit of a repository that holds a checkpoint."""

    name: str
    """owner/name."""
    commit: str
    files: tuple[str, ...]
    """Those of the checkpoint: configuration, weights, an index of theirs if there is one, tokenizer."""
    sums: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The SHA-256 of files, as far as the hub says them: of large ones."""
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Their bytes, as far as the hub says them."""

    def __str__(self) -> str:
        return f"{self.name}@{self.commit}"

    @property
    def config(self) -> str:
        """The name of its configuration: params.json or config.json."""
        return self.files[0]

    def file(self, name: str) -> Path:
        """One of the files, on this machine. Raises HubError."""
        hub = _hub()
        with _explained(self.name):
            return Path(hub.hf_hub_download(self.name, name, revision=self.commit))

    def folder(self) -> Path:
        """The folder with all of the files, on this machine. Raises HubError."""
        missing = self.missing()
        _check_room(self, missing)
        for name in missing:
            self.file(name)
        return self.file(self.config).parent

    def missing(self) -> list[str]:
        """The files that are not on this machine."""
        cached = _hub().try_to_load_from_cache
        return [
            name for name in self.files if not isinstance(cached(self.name, name, revision=self.commit), str)
        ]


def is_hub_name(given: str) -> bool:
    """Whether it may be a name: it has the form of one, and nothing of this name lies on this machine."""
    return _NAME.fullmatch(given) is not None and not Path(given).exists()


def find(given: str) -> HubModel:
    """The model of this name, at the commit that its revision (default: main) has now. Raises HubError."""
    found = _NAME.fullmatch(given)
    assert found is not None, given
    name, revision = found[1], found[2]
    hub = _hub()
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    with _explained(given):
        commit = hub.HfApi().resolve_revision(name, revision=revision).resolved
        try:
            info = hub.HfApi().model_info(name, revision=commit, files_metadata=True)
        except (httpx2.TransportError, OfflineModeIsEnabled) as error:
            return _cached(name, commit, error)
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            return _cached(name, commit, error)
        there = {one.rfilename: one for one in info.siblings or ()}
        return HubModel(
            name=name,
            commit=commit,
            files=_files(name, commit, list(there)),
            sums={name: one.lfs.sha256 for name, one in there.items() if one.lfs},
            sizes={name: one.size for name, one in there.items() if one.size is not None},
        )


def _files(name: str, commit: str, there: Sequence[str]) -> tuple[str, ...]:
    """The files of the checkpoint among all of a repository. Raises HubError if they are none."""
    for config, stem in LAYOUTS:
        weights = sorted(one for one in there if fnmatch(one, f"{stem}*.safetensors") and "/" not in one)
        if config not in there or not weights:
            continue
        if TOKENIZER not in there:
            raise HubError(
                f"model {name}: it has no tekken.json, and Quire reads no other tokenizer; "
                "mistralai/Pixtral-12B-2409 has one"
            )
        index = f"{stem}.safetensors.index.json"
        if index not in there:
            return (config, TOKENIZER, *weights)
        indexed = indexed_files(HubModel(name=name, commit=commit, files=(config, index)).file(index))
        return (config, TOKENIZER, index, *indexed)
    raise HubError(
        f"model {name}: it holds no checkpoint that Quire reads: expected params.json with "
        "consolidated.safetensors, or config.json with model*.safetensors"
    )


def _cached(name: str, commit: str, error: Exception) -> HubModel:
    """The model as far as the cache of this machine holds it, for lack of a connection."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "snapshots" / commit
    there = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    try:
        model = HubModel(name=name, commit=commit, files=_files(name, commit, there))
    except HubError:
        raise HubError(
            f"model {name}: the hub cannot be reached ({_said(error)}), and the cache in {HF_HUB_CACHE} "
            f"does not hold all of commit {commit}",
            is_outage=not isinstance(error, OfflineModeIsEnabled),
        ) from error
    _log.warning("the hub cannot be reached: %s is the model in the cache of this machine", model)
    return model


def _check_room(model: HubModel, missing: Sequence[str]) -> None:
    """Raises HubError if the disk of the cache has no room for these files."""
    from huggingface_hub.constants import HF_HUB_CACHE

    needed = sum(model.sizes.get(name, 0) for name in missing)
    place = Path(HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise HubError(
            f"model {model.name}: its files have {needed / _GIB:.2f} GiB, and {HF_HUB_CACHE} has room for "
            f"{free / _GIB:.2f}: free some, or set HF_HOME to a folder on another disk"
        )


def _hub() -> Any:
    """The client, which says nothing itself: its errors are raised."""
    import huggingface_hub

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return huggingface_hub


@contextmanager
def _explained(given: str) -> Iterator[None]:
    """What the client raises becomes a HubError."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"model {given}: its owner wants terms to be accepted: accept them on its page of the hub, and "
            "set HF_TOKEN to a token of yours that may read it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"model {given}: the model has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"model {given}: there is no such folder here, and no model of this name on the hub, or none "
            "that may be read without HF_TOKEN"
        ) from error
    except errors.RevisionResolutionError as error:
        raise HubError(
            f"model {given}: there is no such folder here, and the hub cannot be reached "
            f"({_said(error.__cause__ or error)}): give the folder of a checkpoint, or connect",
            is_outage=_has_failed(error.__cause__),
        ) from error
    except (errors.HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        sentence = f"model {given}: it cannot be downloaded ({_said(error)})"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            sentence += ": free some space, or set HF_HOME to a folder on another disk"
            raise HubError(sentence) from error
        raise HubError(sentence, is_outage=_is_outage(error)) from error


def _is_outage(error: BaseException) -> bool:
    """Whether the hub answered that it cannot, or a file broke off, which is an OSError without a number."""
    import httpx2

    is_cut = isinstance(error, OSError) and error.errno is None and not hasattr(error, "response")
    return isinstance(error, httpx2.TransportError) or is_cut or _has_failed(error)


def _has_failed(error: BaseException | None) -> bool:
    """Whether it is the hub's own fault that it does not answer."""
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError):
        return False
    return error.response.status_code >= 500 or error.response.status_code == 429


def _said(error: BaseException) -> str:
    """An error's words on one line."""
    words = " ".join(str(error).split())
    return words if len(words) <= 200 else f"{words[:200]}..."
