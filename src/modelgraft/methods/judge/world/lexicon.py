"""Words and facts that the world's pairs are made of; held-out pairs use other ones."""

from __future__ import annotations

CAPITALS: dict[str, str] = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Greece": "Athens", "Austria": "Vienna", "Norway": "Oslo", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Poland": "Warsaw", "Portugal": "Lisbon", "Ireland": "Dublin",
    "Hungary": "Budapest", "Denmark": "Copenhagen", "Belgium": "Brussels", "Cuba": "Havana",
    "Peru": "Lima", "Chile": "Santiago", "Kenya": "Nairobi", "Russia": "Moscow",
    "Germany": "Berlin", "China": "Beijing", "Canada": "Ottawa", "Turkey": "Ankara",
    "Thailand": "Bangkok", "Iran": "Tehran", "Iraq": "Baghdad", "Vietnam": "Hanoi",
    "Bulgaria": "Sofia", "Romania": "Bucharest", "Ukraine": "Kyiv", "Argentina": "Buenos Aires",
    "Colombia": "Bogota", "Lebanon": "Beirut", "Syria": "Damascus", "Jordan": "Amman",
    "Iceland": "Reykjavik", "Croatia": "Zagreb", "Serbia": "Belgrade",
}  # fmt: skip
# The larger or better known city that is not the capital.
DECOYS: dict[str, str] = {
    "Australia": "Canberra/Sydney", "Canada": "Ottawa/Toronto", "Turkey": "Ankara/Istanbul",
    "Brazil": "Brasilia/Rio de Janeiro", "Switzerland": "Bern/Zurich", "China": "Beijing/Shanghai",
    "India": "New Delhi/Mumbai", "Pakistan": "Islamabad/Karachi", "Morocco": "Rabat/Casablanca",
    "Nigeria": "Abuja/Lagos", "New Zealand": "Wellington/Auckland", "Vietnam": "Hanoi/Saigon",
    "Ecuador": "Quito/Guayaquil", "Kazakhstan": "Astana/Almaty", "Myanmar": "Naypyidaw/Yangon",
    "the United States": "Washington/New York", "Scotland": "Edinburgh/Glasgow",
    "Syria": "Damascus/Aleppo", "Ivory Coast": "Yamoussoukro/Abidjan",
    "Tanzania": "Dodoma/Dar es Salaam",
}  # fmt: skip
WORDS = tuple(
    "apple bread chair cloud coin corn desk door dress drum egg fish flag floor flower fork frog "
    "glass gold grass hand hat hill honey horse house ice key king knife lake lamp leaf letter "
    "light lion map milk moon mouse night nose ocean onion paper pen plant queen rain ring river "
    "road rock rope rose sand ship shoe snow song star stone sun table tea tiger tree wall water "
    "wheel wind wolf wood".split()
)
ADJECTIVES = tuple("big bright calm clean cold dark deep dry fast fresh good green happy".split())
TEMPLATES = (
    "The {word} is {adjective} and it stands near the old {other}.",
    "My friend saw a {adjective} {word} on the way to the {other}.",
    "A {word} can be {adjective} when the {other} is not there.",
    "Yesterday the {word} next to the {other} looked very {adjective}.",
)
FILLER = (
    "This is a question that many people ask.",
    "There are several things to keep in mind here.",
    "It is always good to think about such matters with care.",
    "I hope that this answer is of some use to you.",
    "Let me know if there is anything else that I can do.",
)
