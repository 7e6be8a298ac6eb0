"""Apply the retention rules: delete what is older than they allow.

Each rule about conversations is one run of `prune`, which leaves out the conversations of more specific rules: a conversation
obeys one rule. Holds, running replies and favourites are spared as in every run. The rules are read once, at the beginning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from conversations.models import RetentionRule
from conversations.models.retention import Kept
from conversations.services.history.files.archive_file import ArchiveFile
from conversations.services.history.pruning.old_archive_files import delete_old_archive_files
from conversations.services.history.pruning.prune import (
    LARGEST_BATCH,
    Outside,
    PruneCriteria,
    PruneResult,
    measure,
    prune_history,
)
from conversations.services.history.pruning.records import count_records, prune_records

# The parameter of `prune_records` for each table.
TABLES = {
    Kept.USAGE_TOTALS: "usage_before",
    Kept.STAFF_ACCESS: "access_before",
    Kept.CHAT_USERS: "users_unseen_since",
}


@dataclass(slots=True)
class RuleResult:
    """What one rule has deleted, or would delete. `rows` counts conversations, rows or files."""

    rule: str
    days: int
    rows: int = 0
    messages: int = 0
    on_hold: int = 0
    estimated_bytes: int = 0


@dataclass(slots=True)
class RulesResult:
    rules: list[RuleResult] = field(default_factory=list)
    is_complete: bool = False

    @property
    def conversations(self) -> int:
        return sum(one.rows for one in self.rules if one.rule.startswith(Kept.CONVERSATIONS.label))

    @property
    def messages(self) -> int:
        return sum(one.messages for one in self.rules)

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.rules)


def ordered(rules: Sequence[RetentionRule]) -> list[RetentionRule]:
    """Return rules, the most specific ones first."""
    return sorted(rules, key=lambda rule: (_weakness(rule), rule.pk))


def _weakness(rule: RetentionRule) -> int:
    if rule.what != Kept.CONVERSATIONS:
        return 5
    return next((place for place, given in enumerate(_scope(rule)) if given), 4)


def _scope(rule: RetentionRule) -> tuple[Any, ...]:
    return rule.user_id, rule.assistant_id, rule.model_tag, rule.is_anonymous


def criteria_of(rule: RetentionRule, rules: Sequence[RetentionRule], now: datetime) -> PruneCriteria:
    """Return what a rule about conversations takes: none of what is a more specific rule's."""
    assert rule.days is not None
    stronger = [one for one in rules if one.what == Kept.CONVERSATIONS and _weakness(one) < _weakness(rule)]
    return PruneCriteria(
        older_than=now - timedelta(days=rule.days),
        user_id=rule.user_id,
        assistant_id=rule.assistant_id,
        model_tag=rule.model_tag,
        is_anonymous=rule.is_anonymous,
        include_favorites=rule.includes_favorites,
        outside=Outside(
            users=tuple(one.user_id for one in stronger if one.user_id),
            assistants=tuple(one.assistant_id for one in stronger if one.assistant_id),
            model_tags=tuple(one.model_tag for one in stronger if one.model_tag),
            is_anonymous=any(one.is_anonymous for one in stronger),
        ),
    )


def apply_rules(
    *,
    is_dry_run: bool = False,
    archive: ArchiveFile | None = None,
    archives: Path | None = None,
    largest_batch: int = LARGEST_BATCH,
    pause_s: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[RulesResult], None] = lambda result: None,
) -> RulesResult:
    """Delete, or in a dry run count, what each rule takes. `archives` is the folder of the files that a rule may delete.

    Can be interrupted and repeated. The result is incomplete if it was stopped.
    """
    now = timezone.now()
    rules = ordered(list(RetentionRule.objects.all()))
    result = RulesResult()
    shared: dict[str, Any] = {"should_stop": should_stop}
    for rule in rules:
        if rule.days is None:
            continue
        taken = RuleResult(rule.subject, rule.days)
        result.rules.append(taken)
        if rule.what == Kept.CONVERSATIONS:

            def note(so_far: PruneResult, taken: RuleResult = taken) -> None:
                _note(taken, so_far)
                on_batch(result)

            criteria = criteria_of(rule, rules, now)
            if is_dry_run:
                done = measure(criteria=criteria, on_batch=note, **shared)
            else:
                pace: dict[str, Any] = {"largest_batch": largest_batch, "pause_s": pause_s}
                done = prune_history(criteria=criteria, archive=archive, on_batch=note, **pace, **shared)
            _note(taken, done)
            is_complete = done.is_complete
        elif rule.what == Kept.ARCHIVES:
            is_complete = _apply_to_archives(rule, taken, archives, now, is_dry_run, should_stop)
        else:
            is_complete = _apply_to_records(rule, taken, now, is_dry_run, pause_s, should_stop)
        on_batch(result)
        if not is_complete:
            return result
    result.is_complete = True
    return result


def _note(taken: RuleResult, done: PruneResult) -> None:
    taken.rows, taken.messages, taken.on_hold = done.conversations, done.messages, done.on_hold
    taken.estimated_bytes = done.estimated_bytes


def _apply_to_records(
    rule: RetentionRule, taken: RuleResult, now: datetime, is_dry_run: bool, pause_s: float, should_stop: Callable[[], bool]
) -> bool:
    assert rule.days is not None
    before: dict[str, Any] = {TABLES[Kept(rule.what)]: now - timedelta(days=rule.days)}
    done = count_records(**before) if is_dry_run else prune_records(**before, pause_s=pause_s, should_stop=should_stop)
    taken.rows, taken.on_hold = done.rows, done.on_hold
    return done.is_complete


def _apply_to_archives(
    rule: RetentionRule,
    taken: RuleResult,
    archives: Path | None,
    now: datetime,
    is_dry_run: bool,
    should_stop: Callable[[], bool],
) -> bool:
    assert rule.days is not None
    if archives is None:
        return True
    before = now - timedelta(days=rule.days)
    done = delete_old_archive_files(folder=archives, before=before, is_dry_run=is_dry_run, should_stop=should_stop)
    taken.rows, taken.on_hold, taken.estimated_bytes = done.files, done.on_hold, done.size
    return done.is_complete
