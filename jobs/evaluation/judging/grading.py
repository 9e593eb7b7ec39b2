"""The answers of an evaluation are graded by a judge, a bounded number at a time, each once.

In: OUT/questions, the answers, and an endpoint. Out: a rating from 1 to 10 of each answer. What the judge
said is kept in OUT/judgements.jsonl: the same command asks only about what has no rating yet. An answer that
the judge does not rate has none; how many there are, and why, is counted.
"""

import base64
import hashlib
import json
import mimetypes
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow.parquet as pq

from jobs.evaluation import questions
from jobs.evaluation.files import Folder
from jobs.evaluation.judging.client import TRIES, Endpoint, JudgeError
from jobs.evaluation.judging.prompts import VERSION
from jobs.evaluation.judging.requests import Message, of_turns, rating, with_references
from jobs.evaluation.measures import JUDGE
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

    def __call__(self, answers: Mapping[str, str]) -> dict[str, float]:
        """Ratings by the ids of questions, of those answers that are to be judged and could be."""
        known = self._known()
        asked = dict(self._requests(answers))
        keys = {id: self._key(messages) for id, messages in asked.items()}
        open_ = [id for id in asked if keys[id] not in known]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for id, said in zip(open_, pool.map(self._grade, [asked[id] for id in open_]), strict=True):
                    if isinstance(said, JudgeError):
                        self.failures[str(said)] += 1
                    else:
                        known[keys[id]] = {"id": id, "key": keys[id], "judge": self._endpoint.model} | said
            finally:
                pool.shutdown(cancel_futures=True)
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in known.values()]
                self._folder.write(NAME, "".join(lines).encode())
        found = {id: float(known[key]["rating"]) for id, key in keys.items() if key in known}
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

    def _grade(self, messages: Sequence[Message]) -> dict[str, Any] | JudgeError:
        sent = [self._whole(message) for message in messages]
        try:
            for _ in range(TRIES):
                judgement = self._endpoint.ask(sent)
                if (found := rating(judgement)) is not None:
                    return {"rating": found, "judgement": judgement}
        except JudgeError as error:
            return error
        return JudgeError(NO_RATING)

    def _requests(self, answers: Mapping[str, str]) -> list[tuple[str, list[Message]]]:
        columns = ["id", "messages", "measures", "facts", "answers"]
        rows: list[dict[str, Any]] = []
        for parquet in questions.parquets_of(self._output):
            with storage.open_input(parquet) as file:
                rows += pq.read_table(file, columns=columns).to_pylist()
        found = []
        for row in rows:
            if JUDGE in row["measures"] and row["id"] in answers:
                conversation = json.loads(row["messages"])
                references = json.loads(row["facts"]).get("references")
                if references is None:
                    request = with_references(conversation, row["answers"][0], answers[row["id"]])
                else:
                    request = of_turns(conversation, references, answers[row["id"]])
                found.append((row["id"], request))
        return found

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

    def _key(self, messages: Sequence[Message]) -> str:
        """Of a judge and of what it is asked."""
        asked = json.dumps([self._endpoint.model, messages], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()

    def _known(self) -> dict[str, dict[str, Any]]:
        lines = (self._folder.read(NAME) or b"").decode().split("\n")
        return {row["key"]: row for row in map(json.loads, filter(None, lines))}
