"""Each file here is a command that a person runs: python -m jobs.NAME --help explains it.

extract asks documents and writes tables, report prints them, export writes them as plain files, retry asks
again for what failed, maintain keeps the tables in shape, publish makes Iceberg tables of them; evaluate
scores a checkpoint, chat talks with one, serve answers over HTTP, benchmark measures, train makes nano. In
Python, `extract.extract` and `export.export` are the same. The rooms below hold their parts: run (what a job
does around its run), exports (files and their formats), bench (a file for each benchmark), nano (training and
its synthetic documents), evaluation (scores of answers).
"""
