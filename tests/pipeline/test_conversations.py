"""Rows of a messages column are answered as they are; the model is given what mistral_common gives it."""

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image

from model.engine.request import Branch, Group
from pipeline.ingest.listing import list_sources
from pipeline.ingest.roots import find_roots
from pipeline.plan.limits import Limits
from pipeline.plan.plan import Plan
from pipeline.plan.rows import FAILED, GROUP, Row
from pipeline.stages import draw_groups, open_sources
from tests.pipeline.drawn import image_bytes, pdf_bytes
from tests.pipeline.local import Machine
from tests.pipeline.plans import plan_for
from tests.pipeline.scripted import TOKENIZER, follow_script, prompt_of

Conversation = list[dict[str, Any]]
REFERENCE: Any = MistralTokenizer.from_file("model/nano/tekken.json", mode=ValidationMode.agnostic)
CHAT: dict[str, Any] = {"questions": (), "messages_column": "messages", "id_column": "id"}


def picture(width: int, height: int) -> bytes:
    return image_bytes(Image.new("RGB", (width, height), (width, height, 9)), "PNG")


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(width: int, height: int) -> dict[str, Any]:
    data = base64.b64encode(picture(width, height)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if isinstance(parts[0], str) else list(parts)}


# As the model card has them: one image; then three of them, four messages, and two of the user in a row.
SIMPLE = [user(text("What is on this picture?"), image(100, 60))]
ADVANCED = [
    user(text("Which of the two animals is larger?"), image(40, 60), image(60, 40)),
    {"role": "assistant", "content": "The one on the first picture."},
    user(text("And this one?"), image(90, 20)),
    user("Name it in a word."),
]


def conversation(rng: random.Random) -> Conversation:
    """In an order that the reference accepts."""

    def said() -> dict[str, Any]:
        parts = [text(f"words {rng.random()}") for _ in range(rng.randint(1, 2))]
        parts += [image(rng.randint(1, 120), rng.randint(1, 120)) for _ in range(rng.choice([0, 0, 1, 2]))]
        if rng.random() < 0.5:
            rng.shuffle(parts)
        return user(*parts) if rng.random() < 0.8 else user("plain words")

    found = [{"role": "system", "content": "Be kind."}] if rng.random() < 0.4 else []
    for _ in range(rng.randint(1, 3)):
        found += [said() for _ in range(rng.choice([1, 1, 2]))]
        found.append({"role": "assistant", "content": f"Answer {rng.random()}."})
    return found[:-1]


def write(folder: Path, rows: list[Any], kind: pa.DataType | None = None) -> Path:
    ids = [str(number) for number in range(len(rows))]
    pq.write_table(pa.table({"id": ids, "messages": pa.array(rows, kind)}), folder / "chats.parquet")
    return folder / "chats.parquet"


def plan_of(checkpoint: Path, place: Path) -> Plan:
    return plan_for(checkpoint, inputs=(str(place),), **CHAT)


def drawn(place: Path, plan: Plan) -> list[Row]:
    sources = list_sources([str(place)], messages_column="messages", id_column="id")
    return [
        row
        for opened in open_sources(sources, plan)
        for table in draw_groups(opened, plan)
        for row in table.to_pylist()
    ]


def test_the_ids_are_those_of_mistral_common(tmp_path: Path, tiny_checkpoint: Path) -> None:
    rng = random.Random(7)
    chats = [SIMPLE, ADVANCED, [user("No image at all?")], *(conversation(rng) for _ in range(40))]
    place = write(tmp_path, list(map(json.dumps, chats)))
    groups = [row for row in drawn(place, plan_of(tiny_checkpoint, place)) if row["kind"] == GROUP]
    assert len(groups) == len(chats)
    for chat, row in zip(chats, groups, strict=True):
        given = REFERENCE.encode_chat_completion(ChatCompletionRequest.from_openai(chat))
        (branch,) = row["branch_ids"]
        assert row["prefix_ids"] + branch == given.tokens, chat
        sizes = list(zip(row["widths"], row["heights"], strict=True))
        assert sizes == [
            Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))).size
            for message in chat
            if isinstance(message["content"], list)
            for part in message["content"]
            if part["type"] == "image_url"
        ]


def test_structs_with_bytes_files_and_data_are_the_same_as_json(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(40, 60))
    data = f"data:image/png;base64,{base64.b64encode(picture(40, 60)).decode()}"
    parts = [
        text("Who?"),
        {"type": "image", "image": picture(40, 60)},
        {"type": "image_url", "image_url": {"url": data}},
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": {"url": str(tmp_path / "a.png")}},
        {"type": "image_url", "image_url": {"url": (tmp_path / "a.png").as_uri()}},
    ]
    place = write(tmp_path, [[user(*parts)]])
    (struct,) = (row for row in drawn(place, plan_of(tiny_checkpoint, place)) if row["kind"] == GROUP)
    parts[1] = parts[2]
    place = write(tmp_path, [json.dumps([user(*parts)])])
    (plain,) = (row for row in drawn(place, plan_of(tiny_checkpoint, place)) if row["kind"] == GROUP)
    assert (struct["prefix_ids"], struct["pixels"]) == (plain["prefix_ids"], plain["pixels"])
    assert (struct["heights"], len(struct["pixels"])) == ([60] * 5, 5 * 40 * 60 * 3)
    assert struct["prompt_keys"] == plain["prompt_keys"]


def url(address: str) -> str:
    return json.dumps([user(text("Who?"), {"type": "image_url", "image_url": {"url": address}})])


def test_a_row_that_cannot_be_asked_fails_alone(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(picture(9, 9))
    (folder / "torn.png").write_bytes(picture(60, 60)[:-30])
    (folder / "two.pdf").write_bytes(pdf_bytes([(60, 60)] * 2))
    (folder / "words.txt").write_text("no image")
    rows = [
        json.dumps(SIMPLE),
        None,
        "[]",
        url("gone.png"),
        url(str(tmp_path / "outside.png")),
        url("torn.png"),
        url("two.pdf"),
        url("words.txt"),
        url("data:image/png;base64,!"),
        url("https://example.org/a.png"),
        json.dumps([user("Only words?")]),
        json.dumps([user(" " * 1_000_000 + "Only words?")]),
    ]
    follow_script(lambda group, branch: f"{len(group.images)} images", monkeypatch)
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    record = machine.run(write(folder, rows), **CHAT)
    answers = {row["uri"].rpartition("#")[2]: row for row in machine.rows("answers/text")}
    assert {key: row["answer"] for key, row in answers.items()} == {"0": "1 images", "10": "0 images"}
    assert {(row["page_first"], row["page_last"], row["question_id"]) for row in answers.values()} == {
        (1, 1, "messages")
    }
    failures = {int(row["uri"].rpartition("#")[2]): row for row in machine.rows("failures")}
    assert {key: (row["stage"], row["reason"]) for key, row in sorted(failures.items())} == {
        1: ("open", "null_value"),
        2: ("open", "bad_messages"),
        3: ("rasterize", "missing"),
        4: ("rasterize", "not_allowed"),
        5: ("rasterize", "damaged_page"),
        6: ("rasterize", "bad_messages"),
        7: ("rasterize", "unsupported_type"),
        8: ("rasterize", "unreadable"),
        9: ("rasterize", "not_allowed"),
        11: ("rasterize", "bad_messages"),
    }
    assert failures[4]["message"].startswith("image 1 of ")
    assert [failures[key]["page_first"] for key in (2, 3)] == [None, 1]
    counts = record["counts"]
    assert (counts["documents"], counts["expected"], counts["answered"], counts["failed"]) == (12, 12, 2, 10)
    machine.run(folder / "chats.parquet", **CHAT)
    assert machine.opened == []
    (folder / "gone.png").write_bytes(picture(9, 9))
    machine.carry_out(machine.prepare(folder / "chats.parquet", frozenset({"missing"}), **CHAT))
    assert (machine.asked, len(machine.rows("answers/text"))) == (1, 3)


def test_a_conversation_with_more_images_than_the_limit_fails_until_the_limit_is_raised(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.dumps([user(text("Who?"), *[image(20, 20)] * count)]) for count in (0, 1, 2)]
    follow_script(lambda group, branch: f"{len(group.images)} images", monkeypatch)
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    place = write(tmp_path, rows)
    machine.run(place, **CHAT, limits=Limits(images=1))
    assert {row["answer"] for row in machine.rows("answers/text")} == {"0 images", "1 images"}
    (failure,) = machine.rows("failures")
    assert failure["reason"] == "too_many_images"
    assert failure["message"].endswith("has 2 images, the limit is 1 (--limit-images)")
    again = frozenset({"too_many_images"})
    machine.carry_out(machine.prepare(place, again, **CHAT, limits=Limits(images=2)))
    assert (len(machine.rows("answers/text")), machine.rows("failures")) == (3, [])


def test_equal_rows_are_asked_once_unless_answers_are_drawn(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write(tmp_path, [json.dumps(ADVANCED)] * 4)
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    assert machine.run(place, **CHAT)["counts"]["shared"] == 3
    assert machine.asked == 1
    record = machine.run(place, temperature=1.0, **CHAT)
    assert (machine.asked, record["counts"]["shared"]) == (4, 0)
    # The draws follow from names and times of files: two of them may be equal, all four are not.
    assert len({row["raw_text"] for row in machine.rows("answers/text")}) > 1


def test_the_runs_system_prompt_and_stop_strings_hold_for_conversations(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def echo(group: Group, branch: Branch) -> str:
        return prompt_of(group, branch)

    follow_script(echo, monkeypatch)
    place = write(tmp_path, [json.dumps([{"role": "system", "content": "Be kind."}, user("Who?")])])
    machine = Machine(tiny_checkpoint, tmp_path / "out", monkeypatch)
    record = machine.run(place, system="Be brief.", max_new_tokens=None, **CHAT)
    assert [row["answer"] for row in machine.rows("answers/text")] == ["Be brief.\n\nBe kind.\n\nWho?"]
    assert record["plan"]["asks"][0]["max_new_tokens"] == 1024
    machine.run(place, stop=("kind", "Who"), max_new_tokens=None, **CHAT)
    assert [row["answer"] for row in machine.rows("answers/text")] == ["Be"]
    assert TOKENIZER.decode(TOKENIZER.encode("Be kind.")) == "Be kind."


def test_a_column_that_holds_no_messages_is_refused(tmp_path: Path) -> None:
    for kind, values in ((pa.int64(), [1]), (pa.binary(), [b"x"])):
        place = write(tmp_path, values, kind)
        with pytest.raises(ValueError, match="not lists of messages or JSON text of such"):
            list_sources([str(place)], messages_column="messages")
    with pytest.raises(ValueError, match=r"--messages-column chat: .* has no such column"):
        list_sources([str(place)], messages_column="chat")


def test_the_rows_name_files_under_the_inputs_folders(tmp_path: Path, tiny_checkpoint: Path) -> None:
    place = write(tmp_path, [json.dumps(SIMPLE)])
    assert plan_of(tiny_checkpoint, place).roots == find_roots([str(place)], [])
    assert not any(row["kind"] == FAILED for row in drawn(place, plan_of(tiny_checkpoint, place)))
