"""What a site's robots.txt allows us (RFC 9309)."""

from protego import Protego

from bottega.datasets.ingest.web import ROBOT, Web, join
from bottega.errors import Unavailable


class Robots:
    """The rules of the sites that one scrape meets, each asked for once."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._rules: dict[str, Protego] = {}

    def ask(self, url: str) -> None:
        """Raise Unavailable where the site forbids the page; a delay that it asks for becomes the pause.

        A site without robots.txt (4xx) lets everybody in. One that cannot say (5xx) lets nobody in.
        """
        place = join(url, "/robots.txt")
        if place not in self._rules:
            answer = self._web.get(place)
            text = answer.content.decode("utf-8", "replace") if answer.status < 400 else ""
            self._rules[place] = Protego.parse(text)
        rules = self._rules[place]
        if not rules.can_fetch(url, ROBOT):
            raise Unavailable(
                f"{url}: the site's robots.txt does not allow {ROBOT!r} to fetch it.",
                next_step="Ask its owner, or use another source.",
            )
        self._web.pause_s = max(self._web.pause_s, float(rules.crawl_delay(ROBOT) or 0))
