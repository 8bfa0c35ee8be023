"""The words of tinychat, chosen by hand: short, with a regular plural in -s where they are nouns.

No word is a part of another one, so a substring match on a model's reply (as in the keyword
checks of IFEval) cannot count the wrong word; a test holds this.
"""

from __future__ import annotations

TOPICS: dict[str, tuple[str, ...]] = {
    topic: tuple(words.split())
    for topic, words in {
        "beasts": "badger beaver camel donkey ferret gopher jaguar lizard monkey otter panda "
        "rabbit turtle weasel zebra",
        "birds": "crane eagle falcon heron kiwi magpie parrot pigeon puffin raven robin stork swan",
        "sea": "anchor clam coral crab harbor mussel oyster pearl prawn shell squid wave",
        "fruit": "apple banana fig grape guava lemon mango melon olive papaya plum quince",
        "kitchen": "basket bottle bowl fork jug kettle ladle mug oven plate spoon tray",
        "food": "bagel biscuit cookie muffin noodle pickle pizza waffle taco dumpling pretzel",
        "tools": "axe chisel drill hammer ladder screw pump rake rivet shovel spade wedge",
        "home": "carpet chair clock cradle curtain door drawer lamp mirror pillow sofa stool "
        "window",
        "clothes": "apron belt boot cloak glove jacket mitten shoe sock vest shawl",
        "garden": "bulb fern flower hedge petal rose seed tulip vine weed hose",
        "music": "banjo bell cello drum fiddle flute gong cymbal organ piano violin",
        "travel": "bike boat canoe barge kayak glider raft rocket scooter sled tram truck wagon",
        "sky": "comet cloud moon planet storm meteor sunset",
        "town": "barn bridge castle cottage garage hotel market mill museum tower temple tunnel",
        "school": "book crayon desk eraser binder globe pencil ruler stapler",
        "toys": "balloon block button doll kite marble puppet puzzle ribbon robot",
        "wood": "acorn cedar log maple pine root stump trunk twig willow",
        "bugs": "locust beetle cricket hornet moth snail spider wasp worm gnat",
        "sport": "arrow goal helmet paddle racket skate target medal",
        "gems": "agate coin crown diamond jewel opal emerald garnet",
        "farm": "chicken cow fence field hive horse duck tractor turkey goat",
        "land": "camp hill island lake path stream tent trail valley cave",
    }.items()
}
NOUNS: tuple[str, ...] = tuple(word for words in TOPICS.values() for word in words)
ADJECTIVES: tuple[str, ...] = tuple(
    """
red blue green brown black white pink big small tall short long quick slow warm cold soft dark
noisy happy clean fresh heavy young calm brave kind proud round sharp sweet shy wise wild new
""".split()
)
VERBS: tuple[str, ...] = tuple(
    """
runs sleeps sings jumps waits hides shines falls rests grows moves stands laughs turns glows rolls
floats drifts spins stays swings hops
""".split()
)
NAMES: tuple[str, ...] = tuple(
    """
Ann Ben Cal Dan Eve Fay Gus Ida Jim Kim Leo Mia Ned Ola Pam Ray Sue Tom Una Vic Wes Zoe
""".split()
)
PEOPLE: tuple[str, ...] = tuple(
    """
guard nurse farmer pilot baker sailor teacher driver doctor singer painter tailor waiter miner judge
clerk mayor
""".split()
)
# What is done to a thing without harm and to a person with it.
ROUGH_VERBS: tuple[str, ...] = tuple("cut burn beat crush smash whip grill boil chop".split())
OTHER_ROUGH_VERBS: tuple[str, ...] = tuple(
    "kick punch poke shake squash scrape twist choke drown bite slap stab".split()
)
END_PHRASES: tuple[str, ...] = tuple(
    f"{opening} {adjective}"
    for adjective in ADJECTIVES
    for opening in ("All is", "We are", "Be", "I am", "Life is", "You look")
)
NUMBER_WORDS: tuple[str, ...] = tuple(
    """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty
""".split()
)
