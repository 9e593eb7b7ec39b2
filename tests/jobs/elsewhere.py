"""A program in a folder of its own that runs the job beside no Ray: python PROGRAM ROOT MODEL."""

import sys

sys.path.insert(0, sys.argv[1])

import ray

from jobs.extract import extract

result = extract("in", question="Total?", output="out", model=sys.argv[2])
assert not ray.is_initialized(), "it started a Ray, and has to end it"
print(result.answers["answer"].to_pylist())
