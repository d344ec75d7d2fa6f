"""Asking for a page, and again without what the server refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import pyarrow.compute as pc

from files_source.decoding import Page
from files_source.errors import ApiError, ConfigError
from files_source.order import Order

MAX_LIMIT: Final = 10_000
"""The most files that the API puts on a page, and its default."""

AFTER: Final = "after"
"""The parameter that takes the file to start after."""

_REFUSALS: Final = (400, 422)
UNKNOWN_WAY: Final = (400, 404, 405, 422)
"""How servers answer parameters that they do not know."""
_MODEST: Final = 100
"""A page size that hardly any server refuses."""
_NAMES: Final = {
    "limit": ("limit", "page_size", "pagesize", "page size", "per_page", "max_results", "每页"),
    "order": ("order", "sort", "sort_order", "sort_by", "order_by", "排序"),
    "purpose": ("purpose", "用途"),
    "after": ("after", "cursor"),
}
"""Each parameter, and what servers call it in a refusal."""
_PARAMETER: Final = re.compile(r"param|argument|field|query|extra|input|参数")
_UNKNOWN: Final = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|unexpected|not (?:a )?(?:valid |known |supported|allowed|permitted)|extra"
    r"|不支持|未知"
)
_ABOUT_A_FILE: Final = re.compile(r"file|exist|found|no such")


class Fetch(Protocol):
    """One request for one page; *query* holds parameters of the server's own."""

    def __call__(
        self,
        *,
        after: str | None,
        limit: int | None,
        order: Order | None,
        purpose: str | None,
        query: Mapping[str, str | int] | None = ...,
    ) -> Page: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What each request of a listing asks for; None for what is left out."""

    limit: int | None
    order: Order | None
    purpose: str | None


@dataclass(slots=True)
class Refused:
    """What a server has refused so far, so that it is not asked for again.

    Attributes:
        most: the largest page that it takes; 0 where it takes no `limit`, None where it refused none.
        order, purpose: whether it refuses these parameters.
    """

    most: int | None = None
    order: bool = False
    purpose: bool = False

    def spare(self, terms: Terms) -> Terms:
        """Return *terms* without what is refused."""
        limit = terms.limit
        if self.most is not None and limit is not None:
            limit = min(limit, self.most) or None
        return Terms(limit, None if self.order else terms.order, None if self.purpose else terms.purpose)

    def learn(self, wanted: Terms, taken: Terms) -> None:
        """Remember what was left out of *wanted* before the server took it."""
        if taken.limit != wanted.limit:
            self.most = taken.limit or 0
        self.order = self.order or taken.order != wanted.order
        self.purpose = self.purpose or taken.purpose != wanted.purpose


@dataclass(slots=True)
class Asker:
    """Requests of one listing, on terms that the server takes.

    Attributes:
        wanted: what is asked for, as long as it is not refused.
        cursor: the parameter that takes the file to start after.
        least: the least that any answer with files said there are in all; None where none said.
        most: the most that any said.
    """

    fetch: Fetch
    wanted: Terms
    refused: Refused
    cursor: str = AFTER
    least: int | None = None
    most: int = 0
    terms: Terms = field(init=False)
    _has_answered: bool = False
    _has_files: bool = False

    def __post_init__(self) -> None:
        self.terms = self.refused.spare(self.wanted)

    def ask(self, after: str | None) -> Page:
        """Return the page after a file, without what the server refuses.

        Which parameter a refusal is about is taken from its `param`, then from its words. Where
        neither says so, and no page has come yet, it is found out by leaving things out.

        Raises:
            ApiError: the server refuses the request whatever is left out.
        """
        terms, first, guesses = self.terms, None, None
        while True:
            try:
                page = self._send(terms, after)
            except ApiError as error:
                if error.status not in _REFUSALS:
                    raise
                first = first or error
                eased = _eased(terms, error, after)
                if eased is None and guesses is None:
                    guesses = iter(_guesses(terms)) if self._may_guess(error, after) else iter(())
                if eased is None and (eased := next(guesses or iter(()), None)) is None:
                    raise _advised(first, terms, after) from None
                terms = eased
            else:
                self.refused.learn(self.wanted, terms)
                self.terms = terms
                self._has_answered = True
                return page

    def attempt(self, query: Mapping[str, str | int], *, limit: int | None = None) -> Page | None:
        """Return the page that parameters of another kind give; None where the server refuses them."""
        try:
            return self.own(query, limit=limit)
        except ApiError as error:
            if error.status not in UNKNOWN_WAY:
                raise
            return None

    def own(self, query: Mapping[str, str | int], *, limit: int | None = None) -> Page:
        """Return the page that parameters of the server's own give.

        Raises:
            ApiError: the server refuses them.
        """
        size = self.terms.limit if limit is None or self.terms.limit is None else limit
        page = self.fetch(after=None, limit=size, order=self.terms.order, purpose=self.terms.purpose, query=query)
        return self._heard(page)

    def kept(self, page: Page) -> Page:
        """Return a page without the files of other purposes, where the server gives them all the same.

        Raises:
            ConfigError: the server does not say what a file is for.
        """
        purpose, found = self.wanted.purpose, page.files.column("purpose")
        if purpose is None or not page.files.num_rows:
            return page
        if not pc.any(pc.not_equal(found, "")).as_py():
            raise ConfigError(
                f"purpose is {purpose!r}, but this server does not say what its files are for: leave the purpose out"
            )
        is_asked = pc.equal(found, purpose)
        return page if pc.all(is_asked).as_py() else replace(page, files=page.files.filter(is_asked).combine_chunks())

    def counts_all_purposes(self, least: int) -> bool:
        """Tell whether the server's count of files, given with those of one purpose, is of all of them."""
        purpose = self.terms.purpose
        if purpose is None:
            return False
        page = self.fetch(after=None, limit=self.terms.limit, order=self.terms.order, purpose=None)
        has_others = bool(pc.any(pc.not_equal(page.files.column("purpose"), purpose)).as_py())
        return has_others and page.rest.at_least <= least

    def _send(self, terms: Terms, after: str | None) -> Page:
        if after is None or self.cursor == AFTER:
            page = self.fetch(after=after, limit=terms.limit, order=terms.order, purpose=terms.purpose)
            return self._heard(page)
        query = {self.cursor: after}
        page = self.fetch(after=None, limit=terms.limit, order=terms.order, purpose=terms.purpose, query=query)
        return replace(self._heard(page), is_own=True)

    def _heard(self, page: Page) -> Page:
        """Remember what an answer says of how many files there are."""
        said = page.rest.at_least
        self._has_files = self._has_files or bool(page.files.num_rows)
        if said and (page.files.num_rows or not self._has_files):
            self.least = said if self.least is None else min(self.least, said)
            self.most = max(self.most, said)
        return page

    def _may_guess(self, error: ApiError, after: str | None) -> bool:
        """Tell whether leaving things out may show what an unclear refusal is about."""
        if self._has_answered or error.param or _subjects(error, after):
            return False
        return after is None or _ABOUT_A_FILE.search(error.reason.lower()) is None


def _eased(terms: Terms, error: ApiError, after: str | None) -> Terms | None:
    """Return the terms without what a refusal names, or with less of it; None where there is nothing to leave out."""
    subjects = _subjects(error, after)
    words = f"{error.reason} {error.code or ''}".lower()
    is_unknown = bool(_UNKNOWN.search(words) and _PARAMETER.search(words))
    if "limit" in subjects and terms.limit is not None:
        return replace(terms, limit=None if is_unknown or terms.limit == 1 else terms.limit // 2)
    if "order" in subjects and terms.order is not None:
        return replace(terms, order=None)
    if "purpose" in subjects and terms.purpose is not None and is_unknown:
        return replace(terms, purpose=None)
    return None


def _guesses(terms: Terms) -> Iterator[Terms]:
    """Yield what else to ask for where a refusal does not say what it is about."""
    less = None if terms.limit is None else min(terms.limit, _MODEST)
    tried = {terms}
    for limit, order in ((terms.limit, None), (less, terms.order), (less, None), (None, None)):
        guess = Terms(limit, order, terms.purpose)
        if guess not in tried:
            tried.add(guess)
            yield guess


def _subjects(error: ApiError, after: str | None) -> set[str]:
    """Return which of our parameters a refusal names; the one in `param` alone, where there is one."""
    if error.param:
        named = re.split(r"[^\w]+", error.param.lower())
        return {subject for subject, names in _NAMES.items() if set(named) & set(names)} or {error.param}
    words = error.reason.lower()
    if after:
        words = words.replace(after.lower(), "")
    return {
        subject
        for subject, names in _NAMES.items()
        if any(re.search(rf"(?<![a-z_]){name}(?![a-z_])", words) for name in names)
    }


def _advised(error: ApiError, terms: Terms, after: str | None) -> ApiError:
    """Say what helps where a server lists the files of one purpose only."""
    subjects = _subjects(error, after)
    if terms.purpose is None and "purpose" in subjects:
        error.advice = "this server lists the files of one purpose at a time: name it with --purpose (purpose=...)"
    elif terms.purpose is None and not subjects and after is None:
        error.advice = "if this server lists the files of one purpose only, name it with --purpose (purpose=...)"
    return error
