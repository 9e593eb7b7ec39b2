"""A model by its name on the hub: which files are fetched, which commit it is, and what is said if it fails.

The client reads its addresses when it is imported, so each test has a process of its own ask it.
"""

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from model.model_key import model_key
from tests.hub import COMMIT, LARGE, Hub, Repository, served

ROOT = Path(__file__).parents[2]
NAME = "someone/Pixtral-Tiny"
OTHER = "b" * 40
# A line for each name: the commit, the key and the size of the vocabulary; or what is wrong.
SCRIPT = """
import sys
from model.model_key import hub_model_key, model_key
from pipeline.plan.model_place import find_model, key_of, model_folder, model_shape, tokenizer_file
whole = sys.argv[1] == "whole"
for name in sys.argv[2:]:
    try:
        place = find_model(name)
        shape, key = model_shape(place), key_of(place)
        tokenizer_file(place)
        if whole:
            assert model_key(model_folder(place)) == key
        print(place, key, shape.vocab_size)
    except ValueError as error:
        print("error:", error)
"""


def ask(
    hub: Hub, home: Path, how: str, *names: str, cwd: Path = ROOT, more: Mapping[str, str] | None = None
) -> list[str]:
    """What a process says that looks for these models."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how, *names],
        cwd=cwd,
        env=hub.environment(home) | {"PYTHONPATH": str(ROOT)} | dict(more or {}),
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done.stdout + done.stderr
    return lines


@pytest.fixture
def repository(tiny_checkpoint: Path, tmp_path: Path) -> Repository:
    """The tiny checkpoint beside what nobody needs, and a commit after it, in which the tokenizer differs."""
    assert (tiny_checkpoint / "consolidated.safetensors").stat().st_size >= LARGE
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(tiny_checkpoint, first, ignore=shutil.ignore_patterns(".model_key*"))
    (first / "README.md").write_text("not asked for")
    (first / "pytorch_model.bin").write_text("not asked for")
    (first / "onnx").mkdir()
    (first / "onnx" / "consolidated.safetensors").write_text("not asked for")
    shutil.copytree(first, second)
    (second / "params.json").write_text((first / "params.json").read_text() + "\n")
    return Repository({COMMIT: first, OTHER: second}, branches={"next": OTHER})


@pytest.fixture
def hub(repository: Repository) -> Iterator[Hub]:
    """A hub that has it."""
    with served({f"models/{NAME}": repository}) as running:
        yield running


def test_a_machine_fetches_what_it_needs(hub: Hub, tmp_path: Path, tiny_checkpoint: Path) -> None:
    said = ask(hub, tmp_path / "cache", "small", NAME)
    key = model_key(tiny_checkpoint)
    assert said == [f"{NAME}@{COMMIT} {key} 3048"]
    assert sorted(hub.fetched()) == ["params.json", "tekken.json"]  # the hub says the digest of the weights
    hub.asked.clear()
    assert ask(hub, tmp_path / "cache", "whole", NAME) == said
    assert hub.fetched() == ["consolidated.safetensors"]
    hub.asked.clear()
    assert ask(hub, tmp_path / "cache", "whole", NAME) == said
    assert not hub.fetched()


def test_a_revision_is_a_commit_from_the_start(hub: Hub, tmp_path: Path, repository: Repository) -> None:
    cache = tmp_path / "cache"
    names = [f"{NAME}@{revision}" for revision in ("main", "next", OTHER)]
    main, branch, commit = ask(hub, cache, "whole", *names)
    assert main.startswith(f"{NAME}@{COMMIT} ")
    assert branch == commit
    assert commit.startswith(f"{NAME}@{OTHER} ")
    assert main.split()[1] != commit.split()[1]
    repository.branches["main"] = OTHER
    assert ask(hub, cache, "whole", NAME) == [commit]


def test_the_model_by_itself_takes_a_name(hub: Hub, tmp_path: Path) -> None:
    script = (
        "import sys; from model.chat import Chat; chat = Chat.load(sys.argv[1]);"
        "print(len(chat.reply([{'role': 'user', 'content': 'x'}], max_new_tokens=3).token_ids))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, NAME],
        cwd=ROOT,
        env=hub.environment(tmp_path / "cache"),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_folder_of_that_name_wins(hub: Hub, tmp_path: Path, tiny_checkpoint: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "here" / NAME)
    said = ask(hub, tmp_path / "cache", "whole", NAME, cwd=tmp_path / "here")
    assert said == [f"{tmp_path}/here/{NAME} {model_key(tiny_checkpoint)} 3048"]
    assert not hub.asked


def test_what_the_hub_has_not_is_a_sentence(hub: Hub, tmp_path: Path, repository: Repository) -> None:
    names = ["nobody/nothing", f"{NAME}@nowhere", f"{NAME}@{'c' * 40}"]
    nobody, nowhere, commit = ask(hub, tmp_path / "cache", "whole", *names)
    assert nobody == (
        "error: model nobody/nothing: there is no such folder here, and no model of this name on the hub, "
        "or none that may be read without HF_TOKEN"
    )
    assert nowhere == f"error: model {NAME}@nowhere: the model has no such revision"
    assert commit == f"error: model {NAME}@{'c' * 40}: the model has no such revision"
    repository.gated = True
    (gated,) = ask(hub, tmp_path / "cache", "whole", NAME)
    assert gated.startswith(f"error: model {NAME}: its owner wants terms to be accepted: accept them")
    assert "HF_TOKEN" in gated


def test_a_repository_without_a_checkpoint_is_a_sentence(
    hub: Hub, tmp_path: Path, repository: Repository
) -> None:
    (repository.commits[OTHER] / "tekken.json").unlink()
    (repository.commits[COMMIT] / "params.json").unlink()
    without, none = ask(hub, tmp_path / "cache", "whole", f"{NAME}@next", NAME)
    assert without.startswith(f"error: model {NAME}: it has no tekken.json")
    assert none.startswith(f"error: model {NAME}: it holds no checkpoint that Quire reads: expected params")
    assert not hub.fetched()


def test_without_a_connection_the_cache_is_used(hub: Hub, tmp_path: Path, repository: Repository) -> None:
    cache = tmp_path / "cache"
    offline = {"HF_HUB_OFFLINE": "1"}
    gone = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for nowhere in (offline, gone):
        (never,) = ask(hub, cache, "whole", NAME, more=nowhere)
        assert never.startswith(
            f"error: model {NAME}: there is no such folder here, and the hub cannot be reached ("
        )
    ask(hub, cache, "small", NAME)
    for nowhere in (offline, gone):
        (part,) = ask(hub, cache, "whole", NAME, more=nowhere)
        assert part.startswith(f"error: model {NAME}: the hub cannot be reached (")
        assert part.endswith(f" does not hold all of commit {COMMIT}")
    said = ask(hub, cache, "whole", NAME)
    for nowhere in (offline, gone):
        assert ask(hub, cache, "whole", NAME, f"{NAME}@{COMMIT}", more=nowhere) == said * 2


def test_a_download_that_breaks_off_is_a_sentence_and_leaves_nothing_half(
    hub: Hub, tmp_path: Path, repository: Repository
) -> None:
    repository.cut = True
    (cut,) = ask(hub, tmp_path / "cache", "whole", NAME)
    assert cut.startswith(f"error: model {NAME}: it cannot be downloaded (")
    assert cut.endswith(")")
    repository.cut = False
    (whole,) = ask(hub, tmp_path / "cache", "whole", NAME)
    assert whole.startswith(f"{NAME}@{COMMIT} ")


def test_a_full_disk_is_a_sentence(hub: Hub, tmp_path: Path, repository: Repository) -> None:
    repository.sizes["consolidated.safetensors"] = 2**60
    (known,) = ask(hub, tmp_path / "cache", "whole", NAME)
    assert known.startswith(f"error: model {NAME}: its files have 1073741824.00 GiB, and {tmp_path}/cache")
    assert known.endswith("free some, or set HF_HOME to a folder on another disk")
    assert "consolidated.safetensors" not in hub.fetched()
    repository.sizes.clear()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (LARGE, before[1])
    )  # a write beyond it fails, as on a full disk
    try:
        (full,) = ask(hub, tmp_path / "cache", "whole", NAME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.startswith(f"error: model {NAME}: it cannot be downloaded (")
    assert full.endswith("free some space, or set HF_HOME to a folder on another disk")


def test_the_layout_of_hugging_face_is_fetched_with_its_index(
    hub: Hub, tmp_path: Path, repository: Repository
) -> None:
    folder = repository.commits[COMMIT]
    for name in ("params.json", "consolidated.safetensors"):
        (folder / name).unlink()
    (folder / "config.json").write_text("{}")
    for number in (1, 2):
        (folder / f"model-{number}-of-2.safetensors").write_bytes(bytes(LARGE))
    (folder / "model.safetensors").write_bytes(b"not in the index")
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}'
    )
    script = "from model import hub; import sys; print(*sorted(hub.find(sys.argv[1]).folder().iterdir()))"
    done = subprocess.run(
        [sys.executable, "-c", script, NAME],
        cwd=ROOT,
        env=hub.environment(tmp_path / "cache"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [Path(one).name for one in done.stdout.split()] == [
        "config.json",
        "model-1-of-2.safetensors",
        "model-2-of-2.safetensors",
        "model.safetensors.index.json",
        "tekken.json",
    ]
