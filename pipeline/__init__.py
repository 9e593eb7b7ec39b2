"""From documents to tables. In the order in which a page goes through it:

flow, stages: the way of a page, on one screen each; prepare: the checks before Ray starts, and the lease
opening, drawing: what the stages do with a document, in the terms of the rooms below
config: a person's settings; plan: the items, keys and prompts that follow from them, and the rows that travel
ingest: documents are found and read
rasterize: pages are drawn, in a process that hostile bytes may kill
dedup: identical prompts are asked once
infer: the Replica answers prompts, with one GPU or a group of them
parse: the model's text becomes an answer or a failure
merge: the answers about a document's windows become one of the document
commit: rows become visible in Delta tables, once each, by one run at a time
publish: versions of these become Iceberg tables
cancellation, backpressure, ray_internals: the run's hold on Ray
"""
