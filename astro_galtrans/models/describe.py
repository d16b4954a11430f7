"""A translator's card as text for people."""

__all__ = ["describe"]

CONVERGED = 0.01  # improvement over the last quarter of a training below which more of it would bring little
SIMULATED = "Trained on simulated pairs: for pipelines and demonstrations. Science needs training on real pairs."


def describe(card):
    """
    Lines of text: what a translator is, whether its training converged, the card as a list, scores against training
    time.

    ``card`` is that of `~astro_galtrans.models.checkpoint.read_card`; cards of earlier releases lack some of it.
    """
    training = dict(card.get("training") or {})
    history = training.pop("history", None)
    lines = [f"{card['name']}: {card.get('description', '')}"]
    if training.get("data", {}).get("simulated"):
        lines.append(SIMULATED)
    lines.append(_converged(training))
    rest = {key: value for key, value in card.items() if key not in {"name", "description", "training"}}
    lines += _tree(rest | {"training": training})
    return "\n".join(lines + _table(history))


def _converged(training):
    """Sentence on whether a training had converged."""
    found = training.get("convergence") or {}
    change = found.get("improvement_of_last_quarter")
    if change is None:
        return "Training: its course was not recorded, or it was too short to tell whether it converged."
    verdict = "converged" if change < CONVERGED else "not yet converged: longer training would still help"
    what = "the RMS error" if found["score"].endswith("gain") else found["score"]
    return f"Training: {verdict} ({what} fell by {100 * change:.1f} % over the last quarter)."


def _tree(tree, depth=0):
    indent = "  " * depth
    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _tree(value, depth + 1)
        else:
            yield f"{indent}{key}: {', '.join(map(_number, value)) if isinstance(value, list) else value}"


def _table(history):
    """Lines of scores against training time, one per validation."""
    if not history:
        return []
    rows = [history["columns"], *([_number(value) for value in row] for row in history["rows"])]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return ["history:", *(f"  {line}" for line in lines)]


def _number(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
