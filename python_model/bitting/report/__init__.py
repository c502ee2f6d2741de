"""The report on an attack suite: its results (JSON) as a page, Markdown, JSON or PDF. Runs no attack."""
