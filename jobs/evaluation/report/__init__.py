"""One self-contained HTML file that shows a run: its figures, and each answer beside its page."""
