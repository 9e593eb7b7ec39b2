"""The sums of ranks are timed by their rows."""

import json

import pytest

from jobs import benchmark

pytestmark = pytest.mark.processes


def test_ranks_on_a_cpu_time_their_plain_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["sums", "--rows", "1", "3", "--width", "512"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["benchmark"], line["ranks"], line["width"]) == ("sums", 2, 512)
    assert [(row["rows"], row["KiB"]) for row in line["rows"]] == [(1, 2), (3, 6)]
    assert all(row["all_reduce"] > 0 for row in line["rows"])
    assert all("two_shot" not in row for row in line["rows"]), "no GPU has memory to share"


@pytest.mark.parametrize(
    "arguments", [["--tensor-parallel", "1"], ["--width", "0"], ["--rows", "4", "0"]], ids=str
)
def test_what_cannot_be_timed_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["sums", *arguments]) == 2
    assert "--tensor-parallel must be at least 2, --width and --rows at least 1" in capsys.readouterr().err
