"""The lifecycle of alerts: repeats fold, turns wait until they can be judged in order, stretches start and end.

In: the rows of frames, and the instants the machine's position passes. Out: `Change` values: a stretch began to count, or ended.
Remembers alerts by fingerprint, turns that wait, and who must be woken when.

Two roads. A firing statement about a steady alert moves `last_seen` at once: that commutes with everything that may still
arrive, because firing times later than the position are kept (`Alert.recent`). Whatever may be a turn waits until the position
reaches its effect and is judged in the order of (effect, at, fingerprint, status); timers run in the same order, after items
of the same instant.
"""

from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from correlator.correlate.change import Change, ChangeKind
from correlator.frames.frame import PLAIN_FIRING, SPECIAL, Extra, Frame, News
from correlator.model.alert import AlertMove, AlertState, Status, next_alert_state
from correlator.model.event import Flag, Origin, Verdict
from correlator.model.incident import Why
from correlator.model.instant import MINUTE, NEVER, Duration, Instant
from correlator.model.rule import NO_RULE, RuleSet
from correlator.state.looks import pack_looks
from correlator.state.records import ALERT_PREFIX, Alert, Row, Turn, pack_alert, pack_turn, split_turn, turn_key, unpack_alert, unpack_turn
from correlator.state.wheel import TimerWheel

_TEXTS: Final = msgspec.json.Decoder(dict[str, str])
_NOTHING: Final = Extra()
_LATE: Final = int(Flag.LATE)
_RESOLVED_EARLY: Final = int(Flag.RESOLVED_BEFORE_FIRING)
_WHY_BY_MOVE: Final = {AlertMove.CLEARED: Why.CLEARED, AlertMove.EXPIRED: Why.EXPIRED, AlertMove.KEEP_ENDED: Why.CLEARED}
# Names of members, since looking one up on its class costs more than a call of a small function (CPython 3.11).
_RESOLVED, _HELD, _FIRING, _KEPT = AlertState.RESOLVED, AlertState.HELD, AlertState.FIRING, AlertState.KEPT
_BEGAN, _NEW_FAULT, _STARTED = ChangeKind.BEGAN, Why.NEW_FAULT, AlertMove.STARTED
_NEW, _UPDATE, _REPEAT = Verdict.NEW, Verdict.UPDATE, Verdict.REPEAT
_NATIVE = Origin.NATIVE
_HEARD: Final = (_FIRING, _HELD)
MEMORY_LEAST: Final[Duration] = 15 * MINUTE
"""An alert is remembered at least this long after its last sight: intake counts on it, and sends labels more often than this."""
ALERTS_MOST: Final = 2_000_000
"""With more alerts than this, those that are over are forgotten before their retention ends, the longest unseen first."""
_SWEEPS: Final = 64


class Lifecycle:
    """Alerts and their turns. `rules` may be swapped; stretches under way keep the rule they began with.

    `guessed` are alerts of which a turn was judged that had been guessed, until someone takes them.
    `resolved_early` counts ends of alerts that were not known to have fired, for whoever takes the count; not those that say so themselves.
    """

    def __init__(self, rules: RuleSet, *, alerts_most: int = ALERTS_MOST) -> None:
        self.rules = rules
        self._memory = _memory_of(rules)
        self.alerts: dict[bytes, Alert] = {}
        self.verdicts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
        self.evicted = 0
        self.resolved_early = 0
        self.waiting = 0
        self.arrived: list[Turn] = []
        self.noted: list[Alert] = []
        self.guessed: list[Alert] = []
        self.order = 0
        self._turns: list[tuple[Instant, Instant, bytes, int, Instant, int, Turn]] = []
        self._fresh: dict[int, Turn] = {}
        self._timer_due: Instant = NEVER
        self._is_timer_known = False
        self._alerts_most = alerts_most
        self._wheel: TimerWheel[Alert] = TimerWheel(self._due)
        self._changed: list[Alert] = []
        self._deleted: dict[bytes, None] = {}

    def adopt(self, rules: RuleSet) -> None:
        """Swap the rules; deadlines that they bring forward are brought forward."""
        self.rules = rules
        self._memory = _memory_of(rules)
        self._is_timer_known = False
        for alert in self.alerts.values():
            self._wheel.schedule(alert)

    def receive(self, frame: Frame, position: Instant) -> None:
        """Take a frame's rows; none is judged before `advance`. Turns that arrived are listed in `arrived` until the next frame."""
        self.arrived, self.noted, self._is_timer_known = [], [], False
        alerts, extras, repeats, updates = self.alerts, frame.extras, 0, 0
        news = frame.news if self.rules.identity.ignore or self.rules.identity.only else {}
        columns = zip(frame.fingerprints, frame.statuses, frame.counts, frame.firsts, strict=True)
        for row, (fingerprint, status, count, first) in enumerate(columns):
            alert = alerts.get(fingerprint)
            if alert is None or not alert.is_steady or status != PLAIN_FIRING:
                if alert is None and row not in frame.news:
                    self._pass_over(frame, row, position)
                else:
                    self._wait(frame, row, alert)
                continue
            last = alert.last_seen
            if first > last + alert.expiry:
                self._wait(frame, row, alert)
                continue
            repeats += count
            alert.count += count
            if count == 1 and last <= position and first >= last:
                alert.before, alert.last_seen = last, first
                if alert.recent:
                    alert.recent = ()
            elif last <= position < first and row in extras:
                ats = [first, *extras[row].more]
                alert.before, alert.last_seen, alert.recent = last, ats.pop(), tuple(ats)
            else:
                alert.hear([first, *extras.get(row, _NOTHING).more], position)
            if row in news and frame.lasts[row] >= last:
                updates += self._relabel(alert, news[row].labels)
            if not alert.is_changed:
                alert.is_changed = True
                self._changed.append(alert)
        self.verdicts[_REPEAT] += repeats - updates
        self.verdicts[_UPDATE] += updates

    def next_instant(self) -> Instant:
        """Answer when the next turn or timer is due, `NEVER` when there is none."""
        if not self._is_timer_known:
            self._timer_due, self._is_timer_known = self._wheel.next_due(), True
        due = self._timer_due
        return min(due, self._turns[0][0]) if self._turns else due

    def advance(self, instant: Instant) -> Change | None:
        """Judge the turn or timer that `next_instant` spoke of, at `instant` (its time, or later when it came too late for that).

        Answers what changed, if anything did.
        """
        if self._turns and self._turns[0][0] <= self._timer_due:
            turn = heappop(self._turns)[-1]
            if self._fresh.pop(turn.order, None) is None:
                self._deleted[turn_key(turn)] = None
            return self._judge(turn, instant)
        self._is_timer_known = False
        return self._wake(self._wheel.pop(), instant)

    @property
    def changed(self) -> int:
        """How many rows changed since the last call of `rows`."""
        return len(self._changed) + len(self._deleted) + len(self._fresh)

    @property
    def last_turn(self) -> Instant:
        """When the last of the waiting turns is judged, 0 when none waits."""
        return max([entry[0] for entry in self._turns], default=0)

    @property
    def turns(self) -> int:
        """How many turns wait to be judged."""
        return len(self._turns)

    def rows(self) -> list[Row]:
        """Answer the rows that changed since the last call."""
        rows: list[Row] = [(key, None) for key in self._deleted]
        for alert in self._changed:
            alert.is_changed = False
            if self.alerts.get(alert.fingerprint) is alert:
                rows.append(pack_alert(alert))
        rows.extend([pack_turn(turn) for turn in self._fresh.values()])
        self._changed, self._deleted, self._fresh = [], {}, {}
        return rows

    def restore(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Take over alerts and turns from their rows; the rest is derived."""
        for key, value in rows:
            if key.startswith(ALERT_PREFIX):
                self.alerts[key[1:]] = unpack_alert(key, value)
            else:
                turn = unpack_turn(value)
                self._turns.append((turn.effect, turn.at, turn.fingerprint, turn.status, turn.expires or 0, turn.order, turn))
        heapify(self._turns)
        for entry in self._turns:
            self.alerts[entry[2]].waiting += 1
            self.waiting += entry[-1].count
        for alert in self.alerts.values():
            alert.is_steady = self._is_steady(alert)
            self._wheel.schedule(alert)

    # Roads in

    def _relabel(self, alert: Alert, labels: bytes) -> int:
        """Take over labels outside the identity; answers 1 when any changed, else 0."""
        changed = _TEXTS.decode(labels)
        if alert.labels == changed:
            return 0
        alert.look(changed, alert.annotations)
        self.noted.append(alert)
        return 1

    def _pass_over(self, frame: Frame, row: int, position: Instant) -> None:
        """Count as late a row of an alert that was forgotten since its source described it: one so far behind that nobody waits for it."""
        extra = frame.extras.get(row, _NOTHING)
        effect = extra.effect if extra.effect is not None else frame.firsts[row]
        assert effect <= position, "an unknown fingerprint came without labels: intake and correlate disagree on what was sent"
        self.verdicts[Verdict.LATE] += frame.counts[row]

    def _wait(self, frame: Frame, row: int, alert: Alert | None) -> None:
        """Queue a row that may be a turn. An alert seen for the first time is remembered at once, with the labels its row brought."""
        news = frame.news.get(row)
        labels = news.labels if news is not None and self._has_free_labels else None
        if alert is None:
            alert, news = self._meet(frame.fingerprints[row], news), None
        extra = frame.extras.get(row, _NOTHING)
        status, first = frame.statuses[row] & ~SPECIAL, frame.firsts[row]
        turn = Turn(
            extra.effect if extra.effect is not None else first,
            first,
            alert.fingerprint,
            status,
            frame.counts[row],
            extra.more,
            extra.flags,
            extra.expires,
            news.annotations if news is not None else None,
            news.value if news is not None else None,
            labels=labels,
        )
        for one in split_turn(turn):
            self._queue(alert, one)
            self.arrived.append(one)

    @property
    def _has_free_labels(self) -> bool:
        return bool(self.rules.identity.ignore or self.rules.identity.only)

    def _meet(self, fingerprint: bytes, news: News | None) -> Alert:
        assert news is not None, "an unknown fingerprint came without labels: intake and correlate disagree on what was sent"
        self._make_room()
        names, looks = pack_looks(_TEXTS.decode(news.labels), _TEXTS.decode(news.annotations))
        alert = Alert(fingerprint, names, looks, news.value, self._default_expiry(news.origin), news.origin)
        self.alerts[fingerprint] = alert
        self._deleted.pop(ALERT_PREFIX + fingerprint, None)  # another one of the same identity may have been forgotten just now
        self.touch(alert)
        return alert

    def _default_expiry(self, origin: Origin) -> Duration:
        return self.rules.expiry.native if origin is _NATIVE else self.rules.expiry.alertmanager

    def _make_room(self) -> None:
        """Forget alerts that are over, the longest unseen first, when there are too many; never one that intake counts on.

        Whether to look depends on the number of alerts alone, so that a restored machine looks at the same moments.
        """
        excess = len(self.alerts) - self._alerts_most
        if excess < 0 or excess % (self._alerts_most // _SWEEPS + 1):
            return
        latest = max([alert.sighted for alert in self.alerts.values()], default=0) - MEMORY_LEAST
        over = [
            (alert.sighted, alert.fingerprint)
            for alert in self.alerts.values()
            if alert.state is _RESOLVED and not alert.waiting and alert.sighted < latest
        ]
        for _, fingerprint in sorted(over)[: excess + self._alerts_most // _SWEEPS + 1]:
            self.noted.append(self.alerts[fingerprint])
            self._drop(self.alerts[fingerprint])
            self.evicted += 1

    def _queue(self, alert: Alert, turn: Turn) -> None:
        alert.waiting += 1
        self.waiting += turn.count
        alert.is_steady = False
        self.order += 1
        turn.order = self.order
        self._fresh[turn.order] = turn
        heappush(self._turns, (turn.effect, turn.at, turn.fingerprint, turn.status, turn.expires or 0, turn.order, turn))

    # Judgement

    def _judge(self, turn: Turn, instant: Instant) -> Change | None:
        alert = self.alerts[turn.fingerprint]
        alert.waiting -= 1
        self.waiting -= turn.count
        alert.count += turn.count or 1  # a turn without items was put back, and its item taken out of the stretch before
        if alert.guess is not None:
            self.guessed.append(alert)
        judge = self._judge_resolved if turn.status else self._judge_firing
        change = judge(alert, turn, instant)
        alert.sighted = max(alert.sighted, instant)
        self._settle(alert)
        return change

    def _settle(self, alert: Alert) -> None:
        """Bring up to date what is derived from an alert's state."""
        alert.is_steady = self._is_steady(alert)
        self.touch(alert)
        if self._wheel.schedule(alert) <= self._timer_due or self._wheel.first is alert:
            self._is_timer_known = False

    def _judge_firing(self, alert: Alert, turn: Turn, instant: Instant) -> Change | None:
        is_heard = alert.state in _HEARD
        known = alert.newest_until(_before(turn, instant)) if is_heard else max(alert.ended, alert.denied)
        if turn.flags & _LATE and turn.at <= known:
            self.verdicts[Verdict.LATE] += turn.count
            return None
        if not is_heard and known and turn.at <= known:
            self._judge_rest(alert, turn, known)
            return None
        is_relabelled = turn.labels is not None and bool(self._relabel(alert, turn.labels))
        if is_heard:
            self._count(turn, _UPDATE if is_relabelled else _REPEAT)
            self._hear(alert, turn, instant)
            return None
        if alert.state is _KEPT:
            self._count(turn, _UPDATE)
            self._move(alert, AlertMove.RETURNED)
            self._hear(alert, turn, instant)
            return Change(ChangeKind.NOTED, alert, instant, Why.RETURNED)
        self._count(turn, _NEW)
        return self._begin(alert, turn, instant)

    def _judge_rest(self, alert: Alert, turn: Turn, known: Instant) -> None:
        """Let go what of a firing run is older than what is known to be over; the rest of the run is news, and judged in its turn."""
        rest = [at for at in turn.more if at > known]
        count = min(len(rest), turn.count)
        self.verdicts[_REPEAT] += turn.count - count
        if rest:
            self._queue(alert, msgspec.structs.replace(turn, effect=rest[0], at=rest[0], count=count, more=rest[1:]))

    def _begin(self, alert: Alert, turn: Turn, instant: Instant) -> Change:
        """Start a stretch: held, when a rule says so, else counting at once."""
        if turn.annotations is not None:
            alert.look(alert.labels, _TEXTS.decode(turn.annotations))
            alert.value = turn.value
        self._rule(alert)
        former = alert.started if alert.ended and alert.reason is None else 0
        alert.started, alert.last_seen, alert.before, alert.recent, alert.denied = turn.at, turn.at, 0, (), 0
        alert.until, alert.count = _until(alert, turn, instant), max(turn.count, 1)
        if turn.more:
            alert.hear(turn.more, instant)
        if alert.hold:
            self._move(alert, AlertMove.HELD)
            alert.reason = Why.HELD
            return Change(ChangeKind.NOTED, alert, instant, Why.HELD, former=former)
        self._move(alert, _STARTED)
        alert.reason = None
        onset = instant if turn.flags & _LATE else turn.at
        return Change(_BEGAN, alert, instant, _NEW_FAULT, onset=onset, former=former)

    def _hear(self, alert: Alert, turn: Turn, instant: Instant) -> None:
        """Take what a firing statement says of a stretch under way; the newest one says how long it holds.

        Firing times later than an end that is said are judged again in their turn: the stretch may be over by then.
        """
        until, limit = _until(alert, turn, instant), _before(turn, instant)
        newest = alert.newest_until(limit)
        if turn.expires and turn.at >= newest:
            self._put_back(alert, limit)
            alert.last_seen = newest
        if turn.at == alert.last_seen:
            alert.until = max(alert.until, until)
        elif turn.at > alert.last_seen:
            alert.until = until
        if alert.until:
            self._queue_again(alert, turn.more)
        alert.hear([turn.at] if alert.until else [turn.at, *turn.more], instant)

    def _judge_resolved(self, alert: Alert, turn: Turn, instant: Instant) -> Change | None:
        is_heard = alert.state in _HEARD
        if not alert.started and not turn.flags & _RESOLVED_EARLY:
            self.resolved_early += turn.count
        limit = _before(turn, instant)
        newest = alert.newest_until(limit)
        is_stale = turn.at < max(newest, alert.started) if is_heard else turn.at <= max(alert.ended, alert.denied)
        if is_stale and turn.flags & _LATE:
            self.verdicts[Verdict.LATE] += turn.count
            return None
        if not alert.ended and not alert.started:
            self._count(turn, _NEW)
            alert.ended = turn.at
            return Change(ChangeKind.NOTED, alert, instant, Why.NEVER_FIRED)
        if is_stale or not is_heard:
            self._count(turn, _REPEAT)
            alert.denied = alert.denied if is_heard else max(alert.denied, turn.at)
            return None
        self._count(turn, _UPDATE)
        self._put_back(alert, limit)
        alert.last_seen = newest
        return self._clear(alert, turn.at, instant)

    def _put_back(self, alert: Alert, after: Instant) -> None:
        """Queue firing times later than what may end the stretch again, to count where they belong. Their items count as repeats so far."""
        if alert.last_seen > after:
            self._queue_again(alert, [at for at in (*alert.recent, alert.last_seen) if at > after])
        alert.recent = ()

    def _queue_again(self, alert: Alert, ats: list[Instant]) -> None:
        alert.count -= len(ats)
        for at in ats:
            self._queue(alert, Turn(at, at, alert.fingerprint, Status.FIRING, 0))

    def _clear(self, alert: Alert, at: Instant, instant: Instant) -> Change:
        alert.ended = at
        if alert.state is _FIRING and alert.keep:
            self._move(alert, AlertMove.KEPT)
            return Change(ChangeKind.NOTED, alert, instant, Why.KEPT)
        return self._end(alert, AlertMove.CLEARED, instant)

    def _end(self, alert: Alert, move: AlertMove, instant: Instant) -> Change:
        was_held = alert.state is _HELD
        self._move(alert, move)
        if was_held:
            alert.reason = Why.HOLD_NOT_MET
            return Change(ChangeKind.NOTED, alert, instant, Why.HOLD_NOT_MET)
        return Change(ChangeKind.ENDED, alert, instant, _WHY_BY_MOVE[move])

    # Timers

    def _due(self, alert: Alert) -> Instant:
        """Answer when an alert must be woken: the one deadline of its state."""
        if alert.state is _FIRING and not alert.until:
            return alert.last_seen + alert.expiry
        if alert.state is _KEPT:
            return alert.ended + alert.keep
        if alert.state is _RESOLVED:
            return max(alert.ended, alert.last_seen, alert.sighted) + self._memory if alert.sighted else NEVER
        expires = self._expires(alert)
        return min(expires, alert.started + alert.hold) if alert.state is _HELD else expires

    def _expires(self, alert: Alert) -> Instant:
        return alert.until or alert.last_seen + alert.expiry

    def _wake(self, alert: Alert, instant: Instant) -> Change:
        if alert.state is _RESOLVED:
            return self._forget(alert, instant)
        if alert.state is _KEPT:
            change = self._end(alert, AlertMove.KEEP_ENDED, instant)
        elif alert.state is _HELD and alert.started + alert.hold <= self._expires(alert):
            self._move(alert, AlertMove.HOLD_ENDED)
            alert.reason = None
            change = Change(ChangeKind.BEGAN, alert, instant, Why.NEW_FAULT, onset=alert.started)
        else:
            alert.ended = self._expires(alert)
            change = self._end(alert, AlertMove.EXPIRED, instant)
        self._settle(alert)
        return change

    def _forget(self, alert: Alert, instant: Instant) -> Change:
        """Forget an alert. One with turns waiting starts anew: whether they came before or after this instant must not matter."""
        gone = msgspec.structs.replace(alert)
        if alert.waiting:
            alert.started = alert.ended = alert.denied = alert.last_seen = alert.before = alert.until = alert.sighted = 0
            alert.recent, alert.count, alert.incident, alert.former, alert.reason = (), 0, None, (), Why.NEVER_FIRED
            self._settle(alert)
        else:
            self._drop(alert)
        return Change(ChangeKind.GONE, gone, instant, Why.STAYED_WELL)

    def _drop(self, alert: Alert) -> None:
        del self.alerts[alert.fingerprint]
        self._deleted[ALERT_PREFIX + alert.fingerprint] = None

    # Small verbs

    def _rule(self, alert: Alert) -> None:
        """Apply the rule that these labels meet to the alert: hold, keeping and expiry."""
        rule = self.rules.rule_for(alert.labels) if self.rules.alerts else NO_RULE
        alert.hold, alert.keep = rule.hold, rule.keep_firing
        alert.expiry = rule.expiry if rule.expiry is not None else self._default_expiry(alert.origin)

    def _count(self, turn: Turn, verdict: Verdict) -> None:
        """Give a turn's first item its verdict; the others of its run are repeats, as one that was put back was taken for."""
        self.verdicts[verdict] += 1
        self.verdicts[_REPEAT] += turn.count - 1

    def _move(self, alert: Alert, move: AlertMove) -> None:
        alert.state = next_alert_state(alert.state, move)

    def _is_steady(self, alert: Alert) -> bool:
        return alert.state in _HEARD and not alert.waiting and not alert.until

    def touch(self, alert: Alert) -> None:
        """Note that an alert's row changed."""
        if not alert.is_changed:
            alert.is_changed = True
            self._changed.append(alert)


def _memory_of(rules: RuleSet) -> Duration:
    """Answer how long an alert that is over is remembered: long enough to know it again when it relapses."""
    return max(rules.retention.alert, rules.retention.close_after, MEMORY_LEAST)


def _before(turn: Turn, instant: Instant) -> Instant:
    """Answer up to when firing times count as judged before a turn: turns of one instant are judged in the order of their event times."""
    return instant if turn.at >= instant else instant - 1


def _until(alert: Alert, turn: Turn, instant: Instant) -> Instant:
    """Answer the end that a firing statement gives its stretch, 0 for none; one that is late is news, so it expires by its arrival."""
    if turn.expires is not None:
        return turn.expires
    return instant + alert.expiry if turn.flags & _LATE else 0
