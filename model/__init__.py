"""A Pixtral in plain torch, and the engine that answers batches of requests with it. Read in this order:

config, transfer        the model's shape, read from its own file; arrays to the device in one copy
checkpoint, model_key   a folder of safetensors to a model; a digest that names the model
hub                     a checkpoint by its name, fetched when it is needed
text/                   token ids of conversations; grammars from JSON schemas
network/                image grids, pixels, layers, encoder, Pixtral: the network as its authors publish it
cache/                  keys and values, of one sequence or in blocks; a step's plan and its packed batch
engine/                 requests, scheduler, block pool, sampling, the engine; `reference` is the plain loop
executor/               how a step is computed: in plain torch, or with fused weights and CUDA graphs
kernels/                Triton's kernels for the executor, which run on GPUs alone
collectives/            ranks that share a model: how they meet, and how they sum their parts
parallel/               a rank's shard of the weights; rank 0's executor, which all other ranks follow
chat                    the model by itself, from Python: conversations and images in, text out
"""
