"""Programs that a model wrote are run, each in a process of its own that can do nothing but compute."""
