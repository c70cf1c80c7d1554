"""A table in Markdown."""


def pipe_table(rows: list[dict[str, str]]) -> str:
    """GitHub Markdown, padded so that a terminal shows columns too; what a row lacks is `-`."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    widths = [max(len(key), *(len(row.get(key, "-")) for row in rows)) for key in header]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    body = [line([row.get(key, "-") for key in header]) for row in rows]
    return "\n".join([line(header), line(["-" * width for width in widths]), *body])
