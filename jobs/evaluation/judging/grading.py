"""The answers of an evaluation are graded by a judge, a bounded number at a time, each once.

In: OUT/questions, the answers, and an endpoint. Out: a rating of each answer, or of each of its values. What
the judge said is kept in OUT/judgements.jsonl: the same command asks only about what has no rating yet. An
answer that the judge does not rate wholly has none; how many requests failed, and why, is counted.
"""

import base64
import hashlib
import json
import mimetypes
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow.parquet as pq

from jobs.evaluation import questions
from jobs.evaluation.files import Folder
from jobs.evaluation.judging.client import TRIES, Endpoint, JudgeError
from jobs.evaluation.judging.prompts import VERSION
from jobs.evaluation.judging.requests import Message, Request, of_answer, of_values
from jobs.evaluation.measures import JUDGE, JUDGED
from pipeline.ingest import storage

NAME: Final = "judgements.jsonl"
AT_ONCE: Final = 8  # requests
NO_RATING: Final = "no rating in what the judge said"


class Grader:
    """Grades with one judge; `failures` counts reasons afterwards."""

    def __init__(self, output: str, endpoint: Endpoint) -> None:
        self._folder, self._endpoint = Folder(output), endpoint
        self._output = output
        self.failures = Counter[str]()
        self.graded = 0

    def __call__(self, answers: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """By the ids of questions, the ratings of those answers that are to be judged and could be.

        Each has the names of what was rated: the empty one of an answer as a whole.
        """
        known = self._known()
        found: dict[str, dict[str, float]] = {}
        asked: list[tuple[str, Request]] = []
        for id, requests in self._requests(answers):
            found[id] = {}
            asked += [(self._key(one), one) for one in requests]
        open_ = [(key, one) for key, one in asked if key not in known]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for (key, one), said in zip(
                    open_, pool.map(self._grade, [one for _, one in open_]), strict=True
                ):
                    if isinstance(said, JudgeError):
                        self.failures[str(said)] += 1
                    else:
                        about = {"id": one.id, "key": key, "judge": self._endpoint.model}
                        known[key] = about | ({"value": one.name} if one.name else {}) | said
            finally:
                pool.shutdown(cancel_futures=True)
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in known.values()]
                self._folder.write(NAME, "".join(lines).encode())
        for key, one in asked:
            if key not in known:
                found.pop(one.id, None)
            elif one.id in found:
                found[one.id][one.name] = float(known[key]["rating"])
        self.graded = len(found)
        return found

    def about(self) -> dict[str, Any]:
        """For a summary: which judge, its prompts, and what it graded and did not."""
        return {
            "model": self._endpoint.model,
            "url": self._endpoint.url,
            "prompts": VERSION,
            "graded": self.graded,
            "ungraded": dict(self.failures.most_common()),
        }

    def _grade(self, request: Request) -> dict[str, Any] | JudgeError:
        sent = [self._whole(message) for message in request.messages]
        try:
            for _ in range(TRIES):
                judgement = self._endpoint.ask(sent, request.max_tokens)
                if (found := request.read(judgement)) is not None:
                    return {"rating": found, "judgement": judgement}
        except JudgeError as error:
            return error
        return JudgeError(NO_RATING)

    def _requests(self, answers: Mapping[str, str]) -> Iterator[tuple[str, list[Request]]]:
        """Of each question that a judge grades, what it is asked."""
        columns = ["id", "messages", "measures", "facts", "answers"]
        for parquet in questions.parquets_of(self._output):
            with storage.open_input(parquet) as file:
                rows = pq.read_table(file, columns=columns).to_pylist()
            for row in rows:
                if row["id"] in answers and JUDGED & set(row["measures"]):
                    ask = of_answer if JUDGE in row["measures"] else of_values
                    yield row["id"], ask(row, json.loads(row["facts"]), answers[row["id"]])

    def _whole(self, message: Message) -> Message:
        """A message with its images' bytes in the place of their names, which are hashes of them."""
        if isinstance(message["content"], str):
            return message
        return {"role": message["role"], "content": [self._part(part) for part in message["content"]]}

    def _part(self, part: Message) -> Message:
        if part["type"] == "text":
            return part
        name = part["image_url"]["url"]
        data = self._folder.read(f"{questions.NAME}/{name}")
        if data is None:
            raise ValueError(f"{self._output} lacks the image {questions.NAME}/{name}")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        return {"type": "image_url", "image_url": {"url": url}}

    def _key(self, request: Request) -> str:
        """Of a judge and of what it is asked."""
        asked = json.dumps([self._endpoint.model, request.messages], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()

    def _known(self) -> dict[str, dict[str, Any]]:
        lines = (self._folder.read(NAME) or b"").decode().split("\n")
        return {row["key"]: row for row in map(json.loads, filter(None, lines))}
