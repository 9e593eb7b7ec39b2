"""A file with a JSON schema becomes a text that travels: its content decides, and it says what is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from schemas import json_schema_file
from schemas.arrow import arrow_type
from schemas.targets import load_target, target_label, target_text

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"total": {"type": "number", "multipleOf": 0.01}}}


def write(path: Path, schema: Any, **more: Any) -> str:
    path.write_text(json.dumps(schema | more, ensure_ascii=False), encoding="utf-8")
    return str(path)


def test_the_text_is_all_that_is_needed(tmp_path: Path) -> None:
    text = target_text(write(tmp_path / "bill.JSON", SCHEMA))
    (tmp_path / "bill.JSON").unlink()
    json_schema_file.load.cache_clear()
    assert str(arrow_type(load_target(text))) == "struct<total: decimal128(38, 2)>"
    assert load_target(text) is load_target(text)


def test_a_target_of_another_kind_travels_as_its_name() -> None:
    assert target_text("Invoice") == "Invoice"
    assert target_label("tests.jobs.targets:Slip") == "tests.jobs.targets:Slip"


def test_the_label_is_the_title_or_the_file_s_name_and_a_hash_of_what_it_says(tmp_path: Path) -> None:
    plain = target_label(target_text(write(tmp_path / "my bill.json", SCHEMA)))
    assert plain[:-12] == "my_bill-"
    titled = target_label(
        target_text(write(tmp_path / "x.json", SCHEMA, title="Löhne", **{"$comment": "new"}))
    )
    assert titled == plain.replace("my_bill", "Lohne")
    other = target_label(
        target_text(write(tmp_path / "x.json", SCHEMA, title="Löhne", description="of 2024"))
    )
    assert other != titled


def test_a_byte_order_mark_and_a_path_from_home_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bill.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(SCHEMA).encode())
    assert target_label(target_text("~/bill.json")).startswith("bill-")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "bill.json cannot be read as UTF-8 text: "),
        (b"{", "bill.json is not JSON: "),
        (b"[" * 100_000, "bill.json is nested deeper than 200 levels"),
        (b'{"type": "object", "type": "array"}', "bill.json has the name 'type' twice in one object"),
        (b" " * (2**20 + 1), "bill.json has 1,048,577 bytes; a target's schema has 1,048,576 at most"),
        (b"3", "bill.json#: a schema is an object or true, not 3"),
        (b'{"type": "object", "properties": {"a": {}}}', "bill.json#/properties/a: it does not say"),
        (b'{"title": 3, "properties": {"a": {}}}', "bill.json#/title: it has to be a string, not 3"),
    ],
    ids=lambda content: content[:30] if isinstance(content, bytes) else None,
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bill.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{message}")) as caught:
        target_text(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    for name in ("none.json", ".json"):
        with pytest.raises(ValueError, match="json cannot be read as UTF-8 text: "):
            target_text(str(tmp_path / name))
