"""Plots rates as multiples of OpenBao's. The SVG is written directly, because a few bars need no library."""

from statistics import median

# Row, title, and the upper bound: its series, its label, and whether the series used a single core.
BARS = (
    ("single-tokenize-16", "tokenize, 1 value a request", "floor", "a server that does nothing", False),
    ("single-rehydrate-16", "rehydrate, 1 value a request", "floor", "a server that does nothing", False),
    ("batch-tokenize", "tokenize, 1,000 values a request", "crypto, one core", "cryptography alone, all cores", True),
    ("batch-rehydrate", "rehydrate, 1,000 values a request", "crypto, one core", "cryptography alone, all cores", True),
)
COLOURS = {"OpenBao": "#8c8c8c", "masker": "#1f6feb", "most": "#c9d7ee"}
WIDTH, LEFT, BAR, GAP = 760, 230, 16, 22


def svg(run):
    """Returns the plot of a run that has the rows of `BARS`."""
    groups = []
    for row, title, limit, limit_name, of_one_core in BARS:
        series = run["rows"][row]["series"]
        rate = lambda name: median(one["values_per_second"] for one in series[name])
        bao = rate("OpenBao")
        groups.append((title, [
            ("OpenBao", "OpenBao", 1.0),
            ("masker", "masker", rate("masker") / bao),
            ("most", limit_name, rate(limit) * (run["cores"] if of_one_core else 1) / bao),
        ]))
    longest = max(times for _, bars in groups for _, _, times in bars)
    scale = (WIDTH - LEFT - 70) / longest
    parts, y = [], 44
    for title, bars in groups:
        parts.append(f'<text x="12" y="{y + BAR * 0.8:.0f}" font-weight="600">{title}</text>')
        for colour, name, times in bars:
            label = f"{times:.1f} ×" if times < 10 else f"{times:.0f} ×"
            y += BAR + 3
            parts.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#57606a">{name}</text>')
            width, fill = max(1, times * scale), COLOURS[colour]
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{fill}"/>')
            parts.append(f'<text x="{LEFT + width + 6:.1f}" y="{y + 12}">{label}</text>')
        y += BAR + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">\n'
        "<title>Values a second, as multiples of OpenBao's</title>\n"
        f'<rect width="{WIDTH}" height="{y}" rx="6" fill="#ffffff"/>\n'
        '<text x="12" y="26" font-size="15" font-weight="600">Values a second, as multiples of OpenBao\'s</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
