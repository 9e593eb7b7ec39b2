"""From documents to tables. In the order in which a page goes through it:

flow, stages: the way of a page, on one screen each; prepare: what is checked, and held, before Ray starts
config: what a person asks for; plan: the items, keys and prompts that this comes to, and the rows that travel
ingest: documents are found and read
rasterize: pages are drawn, in a process that hostile bytes may kill
dedup: identical prompts are asked once
infer: the Replica answers prompts, with one GPU or a group of them
parse: what the model wrote becomes an answer or a failure
commit: rows become visible in Delta tables, once each, by one run at a time
cancellation, backpressure, ray_internals: the run's hold on Ray
"""
