"""How the Studio looks: colours that the colour-blind tell apart (Okabe and Ito), style sheet, charts."""

from typing import Any

import altair as alt

INK, MUTED, LINE, PAPER, WATER = "#1b2733", "#5f6b7a", "#d9dee5", "#ffffff", "#eef3f7"
FINE, ALARM, EMPTY, ACCENT = "#009e73", "#d55e00", "#9aa5b1", "#0072b2"
VERSIONS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Lines of model versions; the alarm's colour is not among them."""

STYLE = f"""<style>
.stMainBlockContainer {{ max-width: 1320px; padding: 1.1rem 2rem 3rem; }}
.stAppHeader {{ background: transparent; height: 0; }}
.head {{ display: flex; align-items: baseline; gap: 2.2rem; border-bottom: 1px solid {LINE}; padding-bottom: .55rem;
  margin-bottom: .9rem; }}
.head .brand {{ font-size: 1.35rem; font-weight: 650; letter-spacing: -.01em; margin-right: auto; }}
.head .brand span {{ color: {MUTED}; font-weight: 400; }}
.head .fact {{ font-size: .86rem; max-width: 30rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
.head .fact b {{ color: {MUTED}; font-weight: 400; margin-right: .4rem; }}
.loop {{ display: grid; grid-template-columns: 1fr 30px 1fr 30px 1fr 30px 1fr; grid-template-rows: auto 22px auto; }}
.stage {{ border: 1px solid {LINE}; border-left: 4px solid var(--state); border-radius: 6px; background: {PAPER};
  padding: .45rem .7rem .5rem; min-height: 104px; min-width: 0; box-sizing: border-box; }}
.stage.empty {{ background: #fafbfc; border-style: dashed; border-left-style: solid; }}
.stage.alarm {{ background: #fdf3ec; }}
.stage .top {{ display: flex; justify-content: space-between; font-size: .76rem; color: {MUTED}; }}
.stage .top .state {{ color: var(--state); font-weight: 600; }}
.stage .figure {{ font-size: 1.06rem; font-weight: 600; color: {INK}; margin-top: .1rem;
  font-variant-numeric: tabular-nums; }}
.stage .detail {{ font-size: .79rem; color: {MUTED}; line-height: 1.3; font-variant-numeric: tabular-nums; }}
.stage code {{ font-size: .72rem; color: {INK}; background: #eef1f4; padding: .08rem .3rem; border-radius: 4px;
  display: inline-block; margin-top: .2rem; line-height: 1.35; max-width: 100%; box-sizing: border-box;
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }}
.stage.empty .figure {{ font-weight: 400; font-size: .9rem; color: {MUTED}; }}
.way {{ align-self: center; justify-self: center; color: {EMPTY}; font-size: 1.05rem; line-height: 1;
  user-select: none; }}
.way.on {{ color: {ACCENT}; }}
.way.alarm {{ color: {ALARM}; }}
.key {{ font-size: .78rem; color: {MUTED}; display: flex; gap: 1.2rem; margin-top: .1rem; }}
.key i {{ font-style: normal; margin-right: .3rem; }}
.figures {{ display: flex; gap: 2.2rem; flex-wrap: wrap; }}
.figures div b {{ display: block; font-size: 1.2rem; font-weight: 600; font-variant-numeric: tabular-nums; }}
.figures div {{ font-size: .8rem; color: {MUTED}; }}
.figures div b {{ color: {INK}; }}
</style>"""


def finish(chart: Any) -> Any:
    """A chart in the page's look: left titles, quiet grid, one text colour."""
    return (
        chart.configure_view(stroke=None)
        .configure_title(
            anchor="start", fontSize=14, fontWeight=600, color=INK, subtitleColor=MUTED, subtitleFontSize=12
        )
        .configure_axis(
            labelColor=MUTED,
            titleColor=MUTED,
            titleFontWeight="normal",
            gridColor="#eceff2",
            domainColor=LINE,
            tickColor=LINE,
            labelFontSize=11,
            titleFontSize=12,
        )
        .configure_legend(
            labelColor=INK, titleColor=MUTED, titleFontWeight="normal", labelFontSize=11, titleFontSize=12
        )
    )


def versions_scale(versions: list[str]) -> alt.Scale:
    """One colour a model version, the same in every chart."""
    return alt.Scale(domain=versions, range=[VERSIONS[i % len(VERSIONS)] for i in range(len(versions))])
