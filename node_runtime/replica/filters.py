"""Filters: which paths of a replica an edge leaves alone, in gitignore's syntax.

Decides one thing: is this path excluded. Both ends of an edge hold the same rules, so both leave out the
same paths. It never looks at a disk: whether a path is a directory is the caller's to say.

Git's own order of thought is kept: a path is judged from the root downward, and what lies below an excluded
directory is excluded whatever later rules say (gitignore(5): "It is not possible to re-include a file if a
parent directory of that file is excluded"). Of the rules that match a path itself, the last one counts.
`pathspec` turns a pattern into a regular expression; the walk over the levels is ours, because
`pathspec` matches whole paths and would let a rule for a parent outweigh one for the child.

Read next: `reconcile`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from node_runtime.replica.path import parent
from schemas.plans import FilterRule

MAX_CACHED_DIRECTORIES = 200_000  # verdicts, about 20 MB; a walk needs only the directories it is in


class BadFilter(ValueError):
    """A rule that isn't gitignore syntax. The operator acts: the message names the pattern."""


class _Rule:
    """One compiled rule and the part of a path that it has to be held against."""

    __slots__ = ("by_name", "directories_only", "excludes", "search")

    def __init__(
        self, pattern: re.Pattern[str], excludes: bool, by_name: bool, directories_only: bool
    ) -> None:
        self.search = pattern.search
        self.excludes = excludes
        self.by_name = by_name  # no "/" but a last one: judged by the last name alone, at any depth
        self.directories_only = directories_only


class Filters:
    """The compiled rules of one edge. Asking is quick: parents' verdicts are remembered."""

    __slots__ = ("_excluded_directories", "_rules", "rules")

    def __init__(self, rules: Iterable[FilterRule] = ()) -> None:
        self.rules = tuple(rules)
        compiled = [rule for rule in map(_compile, self.rules) if rule is not None]
        self._rules = tuple(reversed(compiled))  # the last that matches counts, so the first found does
        self._excluded_directories: dict[bytes, bool] = {b"": False}

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be excluded."""
        return not self._rules

    def excludes(self, path: bytes, is_directory: bool) -> bool:
        """Whether `path`, or a directory above it, is excluded. Symlinks are not directories."""
        if not self._rules:
            return False
        if is_directory:
            return self._directory(path)
        return self._directory(parent(path)) or self._judge(path, is_directory=False)

    def _directory(self, path: bytes) -> bool:
        verdict = self._excluded_directories.get(path)
        if verdict is not None:
            return verdict
        unknown = []  # outermost last; a loop, for a peer's path can be thousands of names deep
        while verdict is None:
            unknown.append(path)
            path = parent(path)
            verdict = self._excluded_directories.get(path)
        if len(self._excluded_directories) > MAX_CACHED_DIRECTORIES:
            self._excluded_directories = {b"": False}
        for directory in reversed(unknown):
            verdict = verdict or self._judge(directory, is_directory=True)
            self._excluded_directories[directory] = verdict
        return verdict

    def _judge(self, path: bytes, is_directory: bool) -> bool:
        """The verdict of the last rule that matches this very path, its parents not excluded."""
        text = path.decode("utf-8", "surrogateescape")
        name = text.rpartition("/")[2]
        for rule in self._rules:
            if rule.directories_only and not is_directory:
                continue
            subject = name if rule.by_name else text
            if rule.directories_only:
                subject += "/"
            match = rule.search(subject)
            if match is None:
                continue
            # A match that stops at an inner "/" is one of a parent: that level has been judged already.
            if "ps_d" in match.re.groupindex and match["ps_d"] and match.end() != len(subject):
                continue
            return rule.excludes
        return False


def _compile(rule: FilterRule) -> _Rule | None:
    """One rule, or None where gitignore gives the pattern no meaning (blank)."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # 0.08 s, and most edges have no rules

    text = rule.pattern
    if text.startswith("#"):  # `exclude: "#*#"` is a rule, not the comment it would be in a file
        text = "\\" + text
    if rule.action == "include":
        text = "!" + ("\\" + text if text.startswith("!") else text)
    bare = text[1:] if text.startswith("!") else text
    if bare.strip().strip("/") == "**" and bare.rstrip().endswith("/"):
        text, bare = text.removesuffix(bare) + "*/", "*/"  # every directory at all
    elif bare.rstrip().endswith("/**/"):  # every directory below; without "*" it would name the upper one too
        text, bare = text.rstrip() + "*/", bare.rstrip() + "*/"
    try:
        pattern = GitIgnoreSpecPattern(text)
    except (ValueError, re.error) as fault:  # a range such as [z-a] gets as far as the regular expression
        raise BadFilter(f"the filter pattern {rule.pattern!r} is not gitignore syntax") from fault
    if pattern.regex is None or pattern.include is None:
        return None
    trimmed = bare.rstrip()
    return _Rule(
        re.compile(pattern.regex.pattern, re.DOTALL),
        excludes=pattern.include,  # pathspec's "include" is into the set of ignored paths
        by_name="/" not in trimmed.removesuffix("/"),
        directories_only=trimmed.endswith("/"),
    )
