"""A public harness asks the server, as documented. It is no dependency: without it on the path this skips."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from samples.lm_eval.images import SAMPLES, image, score
from tests.docs.markdown import blocks
from tests.jobs.serving.served import ROOT, serving

ROW = {"document": "documents/receipt.png", "answers": ["9.30", "EUR 9.30"]}


def test_an_answer_is_right_if_it_is_one_of_those_expected() -> None:
    assert [score(ROW, [said])["right"] for said in (" eur 9.30\n", "9.30", "9.3", "")] == [1, 1, 0, 0]
    (shown,) = image(ROW)
    assert shown.mode == "RGB"
    assert (SAMPLES / "expected.jsonl").is_file()


@pytest.mark.soak
@pytest.mark.processes
@pytest.mark.skipif(shutil.which("lm_eval") is None, reason="lm_eval is not on the path")
def test_lm_evaluation_harness_asks_about_images(tmp_path: Path) -> None:
    page = blocks(ROOT / "docs" / "serving.md")
    (command,) = [block.code for block in page if block.code.startswith("lm_eval ")]
    with serving() as server:
        words = shlex.split(command.replace("http://127.0.0.1:8000/v1", server.url))
        subprocess.run([*words, "--output_path", str(tmp_path / "results.json")], cwd=ROOT, check=True)
        assert server.metric("quire_answers_in_work") == 0
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["results"]["quire_samples"]["right,none"] >= 0.6
