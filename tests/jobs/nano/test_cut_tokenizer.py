"""The command that made nano's tokenizer makes it again."""

from pathlib import Path

import mistral_common
import pytest

from jobs.nano.cut_tokenizer import main

PUBLISHED = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
NANO = Path("model/nano/tekken.json")


def test_it_makes_nanos_tokenizer_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "tekken.json"
    main([str(PUBLISHED), str(output), "--ranks", "2048"])
    assert output.read_bytes() == NANO.read_bytes()
    assert capsys.readouterr().out == f"{output}: 3048 ids\n"


@pytest.mark.parametrize(
    ("source", "ranks", "said"),
    [
        (str(NANO), "4096", "ranks is 4096: it must be 256 (the bytes) to 2048 (all)"),
        ("missing.json", "2048", "missing.json is missing, and Quire reads Tekken alone"),
        ("pyproject.toml", "2048", "pyproject.toml is not a tekken.json"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    source: str, ranks: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main([source, str(tmp_path / "tekken.json"), "--ranks", ranks])
    assert error.value.code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
