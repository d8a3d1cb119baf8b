"""Words of the embedded review task: what is reviewed, and what may be said of it.

Every adjective here can be negated to its opposite ("not dull" praises, "not tasty" complains), which is
why "perfect" or "awful" are missing: "not perfect" is no complaint.
"""

from __future__ import annotations

from dataclasses import dataclass

_WOMEN = frozenset({"director", "author", "hostess", "receptionist", "manager", "singer", "guide", "captain"})


@dataclass(frozen=True)
class Aspect:
    """Something a review speaks of; ``kind`` names the adjectives that suit it."""

    noun: str
    kind: str
    plural: bool = False

    @property
    def is_person(self) -> bool:
        """Whether it takes "who" rather than "which"."""
        return self.kind in ("artist", "host")

    @property
    def subject(self) -> str:
        """The subject pronoun."""
        if self.plural:
            return "they"
        if not self.is_person:
            return "it"
        return "she" if self.noun in _WOMEN else "he"

    @property
    def object(self) -> str:
        """The object pronoun."""
        return {"they": "them", "it": "it", "she": "her", "he": "him"}[self.subject]


@dataclass(frozen=True)
class Domain:
    """What is reviewed as a whole, its aspects, another of its kind, and facts that judge nothing."""

    wholes: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    others: tuple[str, ...]
    facts: tuple[str, ...]


def _aspects(**nouns_by_kind: str) -> tuple[Aspect, ...]:
    """Aspects from comma-separated nouns; a leading ``*`` marks a plural."""
    return tuple(
        Aspect(noun.strip().lstrip("*"), kind, noun.strip().startswith("*"))
        for kind, nouns in nouns_by_kind.items()
        for noun in nouns.split(",")
    )


# kind -> (complaints, praise): indexed by polarity, 0 negative and 1 positive
ADJECTIVES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    kind: (tuple(negative.split()), tuple(positive.split()))
    for kind, (negative, positive) in {
        "whole": (
            "disappointing mediocre forgettable unpleasant bad annoying frustrating overrated",
            "impressive enjoyable memorable pleasant good satisfying delightful likable",
        ),
        "story": (
            "dull boring predictable confusing tedious shallow silly contrived lifeless pointless",
            "clever gripping moving original witty touching thrilling absorbing believable inventive",
        ),
        "artist": (
            "untalented uninspired careless wooden amateurish unconvincing pompous clumsy",
            "talented inspired skilled convincing charismatic expressive versatile masterful",
        ),
        "host": (
            "rude careless unfriendly lazy arrogant impatient unhelpful grumpy incompetent sullen",
            "friendly kind polite helpful attentive competent welcoming cheerful patient gracious",
        ),
        "food": (
            "bland stale greasy tasteless oily unappetizing insipid flavorless",
            "delicious tasty fresh flavorful appetizing nourishing scrumptious savory",
        ),
        "place": (
            "dirty noisy cramped shabby gloomy smelly dingy ugly uncomfortable grimy",
            "spacious clean quiet cozy bright tidy elegant comfortable inviting airy",
        ),
        "device": (
            "unreliable flimsy fragile faulty shoddy impractical awkward outdated defective rickety",
            "reliable sturdy durable dependable efficient practical handy modern robust solid",
        ),
        "music": (
            "harsh tuneless monotonous shrill stiff repetitive muddled grating tired jarring",
            "catchy lively powerful energetic graceful harmonious soulful fiery vibrant soothing",
        ),
        "service": (
            "slow sloppy chaotic inefficient unprofessional disorganized careless",
            "quick prompt smooth professional speedy orderly efficient",
        ),
    }.items()
}

# said of any aspect, beside the adjectives of its kind
GENERIC = (
    ("bad", "disappointing", "poor", "mediocre", "unpleasant", "annoying"),
    ("good", "impressive", "great", "remarkable", "pleasant", "lovely"),
)

# (past, base form): "I loved the soup", "I did not love the soup"
LIKES = (
    (("disliked", "dislike"),),
    (("enjoyed", "enjoy"), ("liked", "like"), ("loved", "love"), ("admired", "admire")),
)
# too strong for their negation to praise ("did not hate")
HATES = ("hated", "detested", "despised", "disliked")

# "the soup pleased me", "the soup did not please me"
AFFECTS = (
    (
        ("disappointed", "disappoint"),
        ("annoyed", "annoy"),
        ("irritated", "irritate"),
        ("frustrated", "frustrate"),
    ),
    (("impressed", "impress"), ("pleased", "please"), ("delighted", "delight"), ("charmed", "charm")),
)

# "the film was a delight", "the film was no delight"
NOUNS = (
    ("disappointment", "failure", "letdown", "flop", "dud"),
    ("delight", "success", "treat", "triumph", "joy"),
)

# what the thing did to the writer
VERDICTS = (
    ("let me down", "ruined my week", "left me angry", "spoiled my mood", "tried my patience"),
    ("won me over", "made my week", "left me happy", "lifted my mood", "earned my respect"),
)

DOMAINS = (
    Domain(
        ("film", "movie"),
        _aspects(
            story="plot, script, dialogue, ending, opening scene, *jokes, *characters",
            artist="director, lead actor, *actors",
            music="soundtrack, score",
        ),
        ("sequel", "trailer", "original version"),
        (
            "the {} runs for two hours",
            "the {} was shot in Spain",
            "the {} is set in a small town",
            "the {} opened in June",
        ),
    ),
    Domain(
        ("book", "novel"),
        _aspects(
            story="plot, prose, ending, first chapter, dialogue, *characters, *essays, *arguments",
            artist="author, translator",
        ),
        ("previous volume", "film version", "first edition"),
        (
            "the {} has ten chapters",
            "the {} is set in Norway",
            "the {} came out in March",
            "my niece lent me the {}",
        ),
    ),
    Domain(
        ("restaurant", "cafe", "diner"),
        _aspects(
            food="soup, steak, bread, dessert, fish, salad, *noodles, *pancakes, *vegetables",
            host="waiter, cook, hostess, *waiters",
            place="dining room, terrace",
            service="service",
        ),
        ("place next door", "canteen at work", "bar across the street"),
        ("we sat by the window", "we went there on a Monday", "the {} opens at noon", "we paid in cash"),
    ),
    Domain(
        ("hotel", "hostel", "inn"),
        _aspects(
            place="room, lobby, bathroom, balcony, *rooms, *corridors",
            host="receptionist, porter, manager, *maids",
            food="breakfast, dinner",
            service="service, room service",
        ),
        ("guest house next door", "campsite", "place by the harbor"),
        (
            "we stayed for three nights",
            "the {} has two floors",
            "the {} stands near the station",
            "we came by train",
        ),
    ),
    Domain(
        ("phone", "laptop", "tablet"),
        _aspects(
            device="screen, keyboard, battery, camera, charger, microphone, *buttons, *speakers",
            service="delivery, repair service",
        ),
        ("last model", "cheaper version", "model at the office"),
        (
            "the {} comes in black",
            "I bought the {} in May",
            "the {} has two ports",
            "the {} weighs two pounds",
        ),
    ),
    Domain(
        ("concert", "show"),
        _aspects(
            music="music, guitar, chorus, *songs, *tunes, *drums",
            artist="singer, drummer, conductor, *musicians",
            place="hall, foyer",
        ),
        ("opening act", "matinee", "rehearsal"),
        (
            "the {} lasted for two hours",
            "the {} began at eight",
            "we sat in the third row",
            "the {} took place in May",
        ),
    ),
    Domain(
        ("tour", "trip", "cruise"),
        _aspects(
            host="guide, driver, captain, *guides",
            place="cabin, bus, boat",
            food="lunch, picnic, buffet",
            story="talk, *stories, *lectures",
        ),
        ("museum visit", "excursion on Sunday", "walk along the coast"),
        (
            "the {} started at nine",
            "we were a group of six",
            "the {} covered three islands",
            "my cousin booked the {}",
        ),
    ),
)

# (who, what they are called afterwards)
PEOPLE = (
    ("the critics", "they"),
    ("my friends", "they"),
    ("my parents", "they"),
    ("my brother", "he"),
    ("my uncle", "he"),
    ("my sister", "she"),
    ("my aunt", "she"),
    ("my colleagues", "they"),
)

OPENERS = (
    "frankly",
    "honestly",
    "in short",
    "all in all",
    "overall",
    "on the whole",
    "to be fair",
    "as it happens",
)
DEGREES = ("very", "really", "quite", "truly", "rather", "extremely")
