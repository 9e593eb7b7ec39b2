"""A judge, which is another model behind an HTTP endpoint, grades answers that no rule can score."""
