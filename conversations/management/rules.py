"""What `prune_history --by-rules` says."""

from django.template.defaultfilters import filesizeformat

from conversations.services.history.pruning.retention import RuleResult, RulesResult


def rules_sentence(result: RulesResult, *, is_dry_run: bool) -> str:
    """Return a line for each rule."""
    if not result.rules:
        return "No rule deletes anything."
    lines = [_line(taken, is_dry_run) for taken in result.rules]
    return "\n".join(lines if result.is_complete else [*lines, "Stopped before the end."])


def _line(taken: RuleResult, is_dry_run: bool) -> str:
    count = f"{taken.rows:,}" + (f" with {taken.messages:,} messages" if taken.messages else "")
    size = f", about {filesizeformat(taken.estimated_bytes)}" if is_dry_run and taken.estimated_bytes else ""
    spared = f"; {taken.on_hold:,} on hold" if taken.on_hold else ""
    return f"{taken.rule}, older than {taken.days} days: {'would delete' if is_dry_run else 'deleted'} {count}{size}{spared}"
