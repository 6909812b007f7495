"""The page as a person sees it: headless Chromium, a real model behind a real server, and no network."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, sync_playwright

from bottega.cli.serve import studio_command
from bottega.datasets.origin import Origin
from bottega.datasets.zones import load_zones
from bottega.pipeline.loop import replay_span
from bottega.pipeline.release import compile_version, deploy_version
from bottega.pipeline.train import Options, train
from bottega.pipeline.watch import watch_live
from bottega.serving.client import Client
from bottega.serving.process import running
from bottega.settings import Settings
from bottega.times import CITY_TIMEZONE, parse_time
from bottega.workspace import Workspace
from usecases import find

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
MAP = ".st-key-zones .stVegaLiteChart svg"
SAID = ".figures[data-pickup]"


@dataclass
class Seen:
    """A page in the browser, and everything it complained about or asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def stage(self, name: str) -> Locator:
        """The card of a stage."""
        return self.page.locator(f"article[data-stage={name}]")


@pytest.fixture(scope="module")
def chromium() -> str:
    """The path of Chromium, installed first where that can be done."""
    path = shutil.which("chromium")
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update"], capture_output=True, check=False, timeout=300)
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", "chromium"],
            capture_output=True,
            check=False,
            timeout=600,
        )
        path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed, and cannot be: it is Debian's package 'chromium', for root to install.")
    return path


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A model of eight simulated days, compiled and live, and three days of its answers; the last ones in lockdown."""
    workspace = Workspace.open(tmp_path_factory.mktemp("studio") / "loop")
    settings, usecase = Settings(workspace=workspace.root), find("eta")
    since, until, end = (parse_time(f"2024-03-{day}", CITY_TIMEZONE) for day in ("03", "11", "15"))
    train(usecase, workspace, settings, since, until, Options(quick=True, threads=2))
    compile_version(workspace, "eta@champion", buckets=(1, 256))
    deploy_version(workspace, "eta@champion", "first model")
    replay_span(usecase, workspace, settings, until, end)
    watch_live(usecase, workspace)
    return workspace


@pytest.fixture(scope="module")
def address(workspace: Workspace) -> Iterator[str]:
    """The Studio, run by its own command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOTTEGA_")}
    environment = {**kept, "BOTTEGA_WORKSPACE": str(workspace.root)}
    process = subprocess.Popen(studio_command("127.0.0.1", port, headless=True), env=environment)
    try:
        with httpx.Client(trust_env=False) as client:
            wait_for(lambda: answers(client, f"http://127.0.0.1:{port}/_stcore/health"), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(15)


def answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition, within_s: float) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def seen(chromium: str, address: str, tmp_path: Path) -> Iterator[Seen]:
    """The page, freshly opened on a laptop's screen; afterwards the console must be clean and nothing have left."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 800},
        )
        context.set_default_timeout(60_000)
        found = Seen(context.new_page())
        page = found.page
        page.on("console", lambda message: found.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("request", lambda request: found.addresses.append(request.url))
        page.on("websocket", lambda opened: found.addresses.append(opened.url))
        page.goto(address)
        page.locator("section.loop").wait_for()
        yield found
        context.close()
    assert found.complaints == []
    elsewhere = [
        url for url in found.addresses if url.split(":")[0] not in ("data", "blob") and "//127.0.0.1:" not in url
    ]
    assert elsewhere == []
    assert any(url.startswith("ws://127.0.0.1:") for url in found.addresses)


def drawn(page: Page) -> dict[int, tuple[str, str]]:
    """What the map shows of each zone: its ETA in words, and its colour."""
    shapes = page.locator(f"{MAP} path[aria-label*=': ']").evaluate_all(
        "paths => paths.map(path => [path.getAttribute('aria-label'), path.getAttribute('fill')])"
    )
    found = [(re.fullmatch(r".* \((\d+)\), .*: (.*)", label), colour) for label, colour in shapes]
    return {int(match[1]): (match[2], colour) for match, colour in found if match}


def served(workspace: Workspace, pickup: int, at: str) -> dict[int, str]:
    """What the server answers for every zone, as the map would say it."""
    with Client.from_workspace(workspace) as client:
        known = next(field["known"] for field in client.describe("eta")["request"] if field["name"] == "do_zone")
        rows = [{"pu_zone": pickup, "do_zone": zone, "at": at} for zone in known]
        answers = client.predict("eta", rows).answers
    return {zone: f"{answer['eta_min']:.1f} min" for zone, answer in zip(known, answers, strict=True)}


def pick(page: Page, zone: int) -> dict[int, tuple[str, str]]:
    """Click a zone, and wait for its ETAs on the map."""
    page.locator(f"{MAP} path[aria-label*='({zone})']").click()
    page.locator(f'{SAID}[data-pickup="{zone}"]').wait_for()
    page.locator(f"{MAP} path[aria-label*='({zone})'][stroke-width='2.5']").wait_for()
    return drawn(page)


def test_a_clicked_zone_becomes_the_pickup_zone_and_colours_the_map(seen: Seen, workspace: Workspace) -> None:
    page = seen.page
    with running(workspace):
        page.locator(SAID).wait_for()
        page.locator(f"{MAP} path[aria-label*=' min']").first.wait_for()
        zones = load_zones(Origin("simulator")).set_index("zone")
        north, south = (int(zones["lat"].nlargest(9).index[8]), int(zones["lat"].nsmallest(9).index[8]))
        first, second = pick(page, north), pick(page, south)
        at = "2024-03-11T08:30:00-04:00"
        for zone, shown in ((north, first), (south, second)):
            assert {to: eta for to, (eta, _) in shown.items()} == served(workspace, zone, at)
        assert first[north][1] != second[north][1] and first[south][1] != second[south][1]
        assert page.get_by_role("combobox", name="Pickup zone").input_value().endswith(f"({south})")


def test_the_select_box_and_the_clock_ask_again(seen: Seen, workspace: Workspace) -> None:
    page = seen.page
    with running(workspace):
        page.locator(SAID).wait_for()
        page.get_by_role("combobox", name="Pickup zone").fill("(17)")
        page.get_by_role("option").filter(has_text="(17)").first.click()
        page.locator(f'{SAID}[data-pickup="17"]').wait_for()
        page.locator(f"{MAP} path[aria-label*='(17)'][stroke-width='2.5']").wait_for()
        before = drawn(page)
        page.get_by_role("slider").press("End")
        page.wait_for_function(
            f"""before => {{
                const path = document.querySelector("{MAP} path[aria-label*='(200)']");
                return path && !path.getAttribute("aria-label").endsWith(before);
            }}""",
            arg=before[200][0],
        )
        late = served(workspace, 17, "2024-03-11T23:30:00-04:00")
        assert {to: eta for to, (eta, _) in drawn(page).items()} == late


def test_the_loop_follows_the_server(seen: Seen, workspace: Workspace) -> None:
    seen.stage("Serving").locator("code", has_text="bottega serve").wait_for()
    seen.page.get_by_text("No server runs for workspace").wait_for()
    with running(workspace):
        seen.page.locator("article.fine[data-stage=Serving]").wait_for()
        seen.page.locator(SAID).wait_for()
    seen.page.locator("article.empty[data-stage=Serving]").wait_for()
    assert "rows" in seen.stage("Data").inner_text()
    assert "ONNX Runtime" in seen.stage("Compile").inner_text()


def test_error_drift_and_alerts_are_drawn(seen: Seen) -> None:
    page = seen.page
    page.get_by_role("tab", name="Error over time").click()
    page.locator("svg.marks").get_by_text("What raises the alarm").wait_for()
    page.get_by_role("tab", name="Drift").click()
    page.locator("svg.marks").get_by_text("Drift of single columns").wait_for()
    page.get_by_text("Show Evidently's report here").click()
    page.frame_locator("iframe").get_by_text("Dataset Drift").first.wait_for()
    page.get_by_role("tab", name="Alerts").click()
    page.get_by_text("No alert was raised").or_(page.get_by_text("Next step")).first.wait_for()
