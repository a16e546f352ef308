"""A course as plain data, for JSON."""

from dataclasses import asdict
from typing import Any

from reasoner.budget import Cost
from reasoner.tree.course import Course, Duel, Node, Rated


def row(course: Course) -> dict[str, Any]:
    """The course without its tree: what was asked, how it ended and what it cost."""
    began = course.began
    return {
        "question_id": course.id,
        "question": began.text,
        "strategy": began.strategy,
        "verifier": began.verifier,
        "engine": began.engine,
        "model": began.model.name,
        "budget": began.budget,
        "seed": began.seed,
        "takes": course.takes,
        "answer": asdict(course.answer) if course.answer else None,
        "ended_by": course.ended_by,
        "reason": course.reason,
        "cost": _cost(course.cost),
        "sequences": len(course.nodes),
        "depth": course.depth,
    }


def document(course: Course) -> dict[str, Any]:
    """The whole course."""
    return {
        **row(course),
        "heads": [asdict(head) for head in course.heads],
        "nodes": [_node(node) for node in course.nodes],
        "path": list(course.path),
        "comparisons": [_duel(one) for one in course.duels],
        "stray_ratings": [_rated(one) for one in course.strays],
        "proposals": [
            {
                "answer": p.answer.text if p.answer else None,
                "share": p.standing.share,
                "samples": p.standing.samples,
                "tokens": p.cost.tokens,
            }
            for p in course.proposals
        ],
        "notes": list(course.notes),
        "remarks": list(course.remarks),
    }


def _node(node: Node) -> dict[str, Any]:
    plain = {name: getattr(node, name) for name in ("id", "head", "parent", "depth", "index", "branch")}
    plain |= {name: getattr(node, name) for name in ("before", "text", "finish", "state", "on_path", "agrees")}
    return {
        **plain,
        "answer": asdict(node.answer) if node.answer else None,
        "usage": asdict(node.usage),
        "cost": _cost(node.cost),
        "tokens_below": node.below,
        "ratings": [_rated(one) for one in node.ratings],
        "children": list(node.children),
        "repeats": node.repeats,
    }


def _duel(one: Duel) -> dict[str, Any]:
    return {"first": one.first, "second": one.second, **_rated(one.rated)}


def _rated(one: Rated) -> dict[str, Any]:
    return {
        "value": one.value,
        "steps": list(one.steps),
        "parts": list(one.parts),
        "error": one.error,
        "cost": _cost(one.cost),
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {**asdict(cost), "tokens": cost.tokens}
