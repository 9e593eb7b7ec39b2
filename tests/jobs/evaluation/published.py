"""Rows as the benchmarks publish them: the columns and the types of their files, with pictures of our own."""

# ruff: noqa: E501 # a row stays together

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.pipeline.drawn import image_bytes

Rows = list[dict[str, Any]]


@cache
def png(width: int = 40, height: int = 30) -> bytes:
    return image_bytes(Image.new("RGB", (width, height), (width, height, 9)), "PNG")


def image(width: int = 40, height: int = 30) -> dict[str, Any]:
    """As the library `datasets` stores one."""
    return {"bytes": png(width, height), "path": None}


def _people(*answers: str) -> list[dict[str, Any]]:
    return [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(answers, 1)
    ]


_MMMU: dict[str, Any] = {f"image_{number}": None for number in range(1, 8)} | {
    "explanation": "", "img_type": "['Tables']", "topic_difficulty": "Medium", "subfield": "Managerial Accounting",
}  # fmt: skip
_MATHVISTA: dict[str, Any] = {
    "image": "images/1.jpg", "decoded_image": image(), "metadata": {"task": "math word problem", "grade": "x"},
}  # fmt: skip
_PAGES: dict[str, Any] = {f"image_{number}": None for number in range(1, 21)}

ROWS: dict[str, Rows] = {
    "docvqa": [
        {
            "questionId": "49153", "question": "What is the name of the company?",
            "question_types": ["figure/diagram"], "image": image(), "docId": 14465, "ucsf_document_id": "pybv0228",
            "ucsf_document_page_no": "81", "answers": ["itc limited", "ITC Limited"], "data_split": "val",
        },
        {
            "questionId": "24580", "question": "What is the total?", "question_types": None, "image": image(),
            "docId": 14465, "ucsf_document_id": "pybv0228", "ucsf_document_page_no": "81", "answers": ["12.50"],
            "data_split": "val",
        },
    ],
    "infographicvqa": [
        {
            "questionId": "98313", "question": "Which platform is used most?", "answers": ["twitter"],
            "answer_type": ["single span"], "image": image(60, 90), "image_url": "https://example.org/a.jpeg",
            "operation/reasoning": [], "ocr": "{}", "data_split": "val",
        }
    ],
    "mp-docvqa": [
        _PAGES
        | {
            "questionId": "49153", "question": "On which page?", "answers": "['two', 'page 2']", "doc_id": "nkbl0226",
            "page_ids": "['nkbl0226_p1', 'nkbl0226_p2']", "answer_page_idx": "1", "data_split": "val",
            "image_1": image(40, 60), "image_2": image(44, 60),
        }
    ],
    "chartqa": [
        {"type": "human_test", "question": "How many bars?", "answer": "14", "image": image()},
        {"type": "augmented_test", "question": "What share?", "answer": "62%", "image": image(50, 30)},
    ],
    "vqav2": [
        {
            "question_type": "what is this", "multiple_choice_answer": "net", "answers": _people(*["net"] * 9, "a net"),
            "image_id": 262148, "answer_type": "other", "question_id": 262148002, "question": "What is this?",
            "image": image(),
        }
    ],
    "textvqa": [
        {
            "image_id": "003a8ae2ef43b901", "question_id": 34602, "question": "what is the brand?",
            "question_tokens": ["what"], "image": image(), "image_width": 40, "image_height": 30,
            "flickr_original_url": "", "flickr_300k_url": "", "answers": ["nous"] * 8 + ["dakota", "clos"],
            "image_classes": ["Cat"], "set_name": "val", "ocr_tokens": ["MIA"],
        }
    ],
    "ocrbench": [
        {"dataset": "IIIT5K", "question": "what is written in the image?", "question_type":
            "Regular Text Recognition", "answer": ["CENTRE"], "image": image()},
        {"dataset": "HME100k", "question": "Please write out the expression.", "question_type":
            "Handwritten Mathematical Expression Recognition", "answer": ["x ^ { 2 }"], "image": image()},
    ],
    "mmmu": [
        _MMMU
        | {
            "id": "validation_Accounting_1", "question": "<image 1> Baxter has a loss. What is the net income, as on <image 2>?",
            "options": "['$6,000', '$6,500']", "answer": "B", "question_type": "multiple-choice",
            "image_1": image(), "image_2": image(20, 20),
        },
        _MMMU
        | {
            "id": "validation_Math_4", "question": "Find x. <image 1>", "options": "[]", "answer": "['3', 'three']",
            "question_type": "open", "image_1": image(30, 30),
        },
    ],
    "mathvista": [
        _MATHVISTA
        | {
            "pid": "1", "question": "When a spring does work, what is it?", "choices": None, "unit": None,
            "precision": 1.0, "answer": "1.2", "question_type": "free_form", "answer_type": "float",
            "query": "Hint: Please answer the question.\nQuestion: When a spring does work, what is it?",
        },
        _MATHVISTA
        | {
            "pid": "2", "question": "What fraction is blue?", "choices": ["3/11", "8/11"], "unit": None,
            "precision": None, "answer": "8/11", "question_type": "multi_choice", "answer_type": "text",
            "query": "Question: What fraction is blue?\nChoices:\n(A) 3/11\n(B) 8/11",
        },
    ],
    "mmlu": [
        {"question": "Which is prime?", "subject": "number_theory", "choices": ["4", "5", "6", "8"], "answer": 1}
    ],
    "ifeval": [
        {
            "key": 1000, "prompt": "Write two lines without a comma.", "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
            "kwargs": [{"keywords": None, "num_words": None}, {"keywords": ["two"], "num_words": None}],
        }
    ],
    "humaneval": [
        {
            "task_id": "HumanEval/0", "prompt": "def one() -> int:\n    \"\"\"One.\"\"\"\n", "canonical_solution": "    return 1\n",
            "test": "def check(candidate):\n    assert candidate() == 1\n", "entry_point": "one",
        }
    ],
    "mt-bench": [
        {"prompt": ["Write a poem.", "Shorter."], "prompt_id": 81, "category": "writing", "reference": []},
        {"prompt": ["What is 1 + 1?", "And twice that?"], "prompt_id": 111, "category": "math", "reference": ["2", "4"]},
    ],
    "mm-mt-bench": [
        {
            "image": image(), "category": "Chart",
            "conversation": '[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}, '
            '{"role": "assistant", "content": "A chart."}, {"role": "user", "content": "Of what?"}, '
            '{"role": "assistant", "content": "Sales."}]',
        }
    ],
}  # fmt: skip
FILES = {
    "docvqa": "DocVQA/validation-00000-of-00001.parquet",
    "infographicvqa": "InfographicVQA/validation-00000-of-00001.parquet",
    "mp-docvqa": "data/val-00000-of-00001.parquet",
    "chartqa": "data/test-00000-of-00001.parquet",
    "vqav2": "data/validation-00000-of-00001.parquet",
    "textvqa": "data/validation-00000-of-00001.parquet",
    "ocrbench": "data/test-00000-of-00001.parquet",
    "mmmu": "data/validation-00000-of-00001.parquet",
    "mathvista": "data/testmini-00000-of-00001-725687bf7a18d64b.parquet",
    "mmlu": "all/test-00000-of-00001.parquet",
    "ifeval": "data/ifeval.parquet",
    "humaneval": "openai_humaneval/test-00000-of-00001.parquet",
    "mt-bench": "data/train-00000-of-00001-67c6c9fef07685a3.parquet",
    "mm-mt-bench": "data/eval-00000-of-00001.parquet",
}


def save(folder: Path, name: str) -> Path:
    """A repository of the hub with this data set; returns its folder."""
    place = folder / FILES[name]
    place.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS[name]), place)
    return folder
