"""Every flag of every job, in one list: a new one is a decision."""

import importlib
import re
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"
FLAGS = {
    "chat": """
        --model --prompt --image --system --max-tokens --temperature --top-p --seed
        --max-side --pages --limit-images --allow-http --allow-host
    """,
    "extract": """
        --input --column --messages-column --id-column --attachments --since-last-run
        --allow-root --password --password-column --output --allow-http --allow-host
        --page-timeout --page-memory --document-pages --document-timeout --limit-images --require-sandbox
        --question --questions --target --keep-headers --style --system --stop
        --scope --merge --pages --max-pages
        --model --max-side --max-new-tokens --temperature --top-p --seed --dtype --cache-dtype
        --tensor-parallel --replicas --batch-size --max-num-seqs --max-model-len
        --maintain-every --dry-run --price-per-gpu-hour --pages-per-second
        --max-hours --fail-above --notify --metrics-port --log-json
        --config --print-config
    """,
    "evaluate": """
        --output --limit --measure --style --judge --judge-model
        --model --max-side --max-new-tokens --dtype --cache-dtype --tensor-parallel --replicas --batch-size
        --config --print-config
    """,
    "evaluate compare": "",
    "export": "--format --to --flat --spreadsheet --force",
    "maintain": "--target-size --retention --force --dry-run",
    "publish": "--catalog --property --namespace --table",
    "report": "--expected --html --quality",
    "retry": """
        --cause --password --page-timeout --page-memory --document-pages --document-timeout
        --limit-images --require-sandbox
        --max-hours --fail-above --notify --metrics-port --log-json
        --config --print-config
    """,
    "serve": """
        --host --port --api-key --grace
        --model --served-model-name --max-side --dtype --cache-dtype
        --tensor-parallel --max-num-seqs --max-model-len --replicas
        --limit-images --max-body --max-queue --allow-http --allow-host --require-sandbox
        --config --print-config
    """,
    "train": """
        --output --state --shape --start --fonts --minutes --limit-seconds
        --batch-tokens --workers --device --gpus --seed
    """,
    "benchmark documents": "--documents --max-side --rounds --against",
    "benchmark engine": """
        --model --shape --work --share --dtype --fp8 --fp8-cache --step-tokens --cache-tokens --profile
    """,
    "benchmark job": "--model --shape --share --folder",
    "benchmark keys": "--documents",
    "benchmark memory": "--pages",
    "benchmark page": "--model --document --max-side --dtype --engine --questions --tokens --repeats",
    "benchmark pages": "--folder --max-side --repeats",
    "benchmark parallel": """
        --model --shape --tensor-parallel --replicas --share --dtype --fp8 --overlap --split
    """,
    "benchmark precision": "--model --shape",
    "benchmark reading": "--model --pages --max-side",
    "benchmark serve": "--model --shape --clients --requests --tokens --side --folder",
    "benchmark sums": "--tensor-parallel --width --rows",
    "nano.cut_tokenizer": "--ranks",
    "nano.held_out": "--pages --fonts",
}


def test_the_list_holds_all_jobs() -> None:
    jobs = {
        ".".join(path.relative_to(JOBS).with_suffix("").parts)
        for path in JOBS.rglob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert {name.split()[0] for name in FLAGS} == jobs


@pytest.mark.parametrize("job", FLAGS)
def test_a_job_has_these_flags(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *command = job.split()
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(f"jobs.{name}").main([*command, "--help"])
    assert stopped.value.code == 0
    flags = re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", capsys.readouterr().out, re.MULTILINE)
    assert set(flags) == {"--help", *FLAGS[job].split()}
