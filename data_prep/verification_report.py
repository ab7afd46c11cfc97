"""What verification found, as plain data and for people: a summary first, then reasons, then long lists."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from data_prep.utterance import Problem, Utterance
from data_prep.verify import KINDS, VerificationSettings, Verified

FEW = 3
"""So many notes of a kind are written out; of more, these are named, and all are listed at the report's end."""


def verification_report(
    utterances: Sequence[Utterance],
    verified: Sequence[Verified],
    problems: Sequence[Problem],
    texts: Sequence[str],
    settings: VerificationSettings,
) -> dict[str, Any]:
    """Everything that was found, as plain data (the content of `verification.json`).

    Args:
        utterances: all that were listed.
        verified: the findings, in the same order.
        problems: those beside the findings: of listing the corpus, and duplicates.
        texts: the normalised texts, in the same order.
        settings: what was compared with.
    """
    everything = [*problems, *(problem for found in verified for problem in found.problems)]
    refused = {problem.subject for problem in everything if problem.refused}
    accepted = [found for found in verified if found.id not in refused]
    seconds = sorted(found.measurement.seconds for found in accepted if found.measurement)
    spoken = Counter(texts)
    repeated = [(text, count) for text, count in spoken.most_common() if count > 1 and text]
    return {
        "utterances": len(utterances),
        "accepted": len(accepted),
        "refused": len(utterances) - len(accepted),
        "without_audio": len(refused - {utterance.id for utterance in utterances}),
        "accepted_hours": round(sum(seconds) / 3600, 4),
        "accepted_seconds": {"shortest": seconds[0], "median": seconds[len(seconds) // 2], "longest": seconds[-1]}
        if seconds
        else None,
        "formats": _formats(verified),
        "problems": _by_kind(everything),
        "texts": {
            "distinct": len(spoken),
            "repeated": len(repeated),
            "most_repeated": [{"text": text, "times": count} for text, count in sorted(repeated, key=_frequency)[:10]],
        },
        "settings": asdict(settings),
    }


def _frequency(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _formats(verified: Sequence[Verified]) -> list[dict[str, int]]:
    found = Counter((v.measurement.sample_rate, v.measurement.channels) for v in verified if v.measurement)
    return [{"sample_rate": rate, "channels": n, "files": files} for (rate, n), files in sorted(found.items())]


def _by_kind(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    groups: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[problem.kind].append(problem)
    order = {kind: index for index, kind in enumerate(KINDS)}
    return [
        {
            "kind": kind,
            "meaning": KINDS[kind].meaning if kind in KINDS else "found while the corpus was listed",
            "refused": any(problem.refused for problem in group),
            "count": len(group),
            "values": _spread([problem.value for problem in group if problem.value is not None]),
            "found": [
                {"subject": problem.subject, "detail": problem.detail}
                for problem in sorted(group, key=lambda p: (p.subject, p.detail))
            ],
        }
        for kind, group in sorted(groups.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))
    ]


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """The least, the middle and the greatest of a kind's values; None if it has none."""
    if not values:
        return None
    ordered = sorted(values)
    return {"least": ordered[0], "median": ordered[len(ordered) // 2], "greatest": ordered[-1]}


def report_text(report: dict[str, Any]) -> str:
    """The report for people (the content of `verification.txt`).

    First counts; then every refusal with its file and reason; then what was kept and is worth a look, of each kind
    only how much there is of it; then, kind by kind, the lists of those.
    """
    refused = [group for group in report["problems"] if group["refused"]]
    kept = [group for group in report["problems"] if not group["refused"]]
    lines = list(_summary(report, refused, kept))
    for group in refused:
        lines += ["", f"REFUSED: {_heading(group)}", *_findings(group)]
    for group in kept:
        lines += ["", f"KEPT, BUT LOOK AT: {_heading(group)}"]
        lines += _findings(group) if group["count"] <= FEW else [f"  {_gist(group)}"]
    for group in kept:
        if group["count"] > FEW:
            lines += ["", f"ALL {group['count']} OF {group['kind']}", *_findings(group)]
    return "\n".join(lines) + "\n"


def _summary(
    report: dict[str, Any], refused: Sequence[dict[str, Any]], kept: Sequence[dict[str, Any]]
) -> Iterator[str]:
    yield (
        f"{report['utterances']} utterances listed, {report['accepted']} accepted "
        f"({report['accepted_hours']:.2f} h), {report['refused']} refused"
    )
    if report["without_audio"]:
        yield f"{report['without_audio']} transcripts or rows refused that make no utterance"
    for found in report["formats"]:
        channels = "one channel" if found["channels"] == 1 else f"{found['channels']} channels"
        yield f"{found['files']} files at {found['sample_rate']} Hz with {channels}"
    texts, settings = report["texts"], report["settings"]
    yield f"{texts['distinct']} distinct texts, {texts['repeated']} of them spoken repeatedly"
    yield (
        f"CTC was checked for {settings['subsampling']} feature frames per output frame, and for training at up to "
        f"{settings['fastest_speed']:g} times the natural speed"
    )
    yield f"refused: {_counts(refused)}"
    yield f"kept, but worth a look: {_counts(kept)}"


def _counts(groups: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{group['kind']} {group['count']}" for group in groups) or "nothing"


def _heading(group: dict[str, Any]) -> str:
    return f"{group['kind']} ({group['count']}): {group['meaning']}"


def _findings(group: dict[str, Any]) -> list[str]:
    return [f"  {found['subject']}: {found['detail']}" for found in group["found"]]


def _gist(group: dict[str, Any]) -> str:
    """How much there is of a kind: the range of its values, and the first of its utterances."""
    first = ", ".join(found["subject"] for found in group["found"][:FEW])
    values, written = group["values"], KINDS[group["kind"]].value if group["kind"] in KINDS else ""
    spread = ""
    if values and written:
        least, median, greatest = (written.format(values[name]) for name in ("least", "median", "greatest"))
        spread = f"from {least} to {greatest}, half of them below {median}; "
    return f"{spread}{first} and {group['count'] - FEW} more, listed at the end"
