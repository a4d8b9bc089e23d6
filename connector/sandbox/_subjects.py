"""What the described catalogue is about, in our own words."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LESSONS", "NOTES", "PODCASTS", "PRODUCTS", "VIDEOS", "Lesson", "Moment", "Product", "Video"]


class Moment(NamedTuple):
    """Ten seconds of a video: what is seen, what is said, what is written on screen, and the mood."""

    seen: str
    said: str
    written: str = ""
    emotions: tuple[str, ...] = ()


class Video(NamedTuple):
    """A film that was shot in several places; its moments come in order."""

    slug: str
    author: str
    tags: tuple[str, ...]
    places: tuple[str, ...]
    moments: tuple[Moment, ...]


class Product(NamedTuple):
    """A thing that was photographed in several ways."""

    slug: str
    author: str
    tags: tuple[str, ...]
    described: str
    written: str = ""


class Lesson(NamedTuple):
    """A lecture: its recording, slides, handout and the sound alone all come from these points."""

    slug: str
    author: str
    title: str
    points: tuple[str, ...]


VIDEOS = (
    Video(
        "dog-agility",
        "maren",
        ("dog", "sport", "outdoor"),
        ("on a wet meadow", "in an indoor hall", "beside a lake", "at the county fair"),
        (
            Moment(
                "A dog sits at the start line and watches its handler",
                "Wait for it. Wait. And go!",
                "RUN 12",
                ("tense",),
            ),
            Moment(
                "A border collie jumping over a striped bar", "Clean over the first jump, ears flying.", "", ("happy",)
            ),
            Moment("The dog weaves between twelve upright poles", "Look at those weave poles, not one missed."),
            Moment(
                "The puppy hesitates on top of the seesaw, then tips it",
                "Easy, easy. Good dog!",
                "",
                ("nervous", "proud"),
            ),
            Moment(
                "A dog shoots out of a blue tunnel and leaps through a tyre", "Straight out of the tunnel and through!"
            ),
            Moment(
                "The handler hugs the dog while the crowd claps",
                "Thirty-one seconds, a new best.",
                "31.08",
                ("joyful",),
            ),
        ),
    ),
    Video(
        "kitchen-basics",
        "tomasz",
        ("cooking", "food"),
        ("in a small flat", "in a restaurant kitchen", "over a camp fire"),
        (
            Moment(
                "A chef dices two onions with a wide knife", "Keep your fingertips curled under.", "STEP 1", ("calm",)
            ),
            Moment("Garlic and chilli sizzle in olive oil", "You want to smell it, not burn it."),
            Moment("Tomatoes are crushed by hand into a steaming pan", "Tinned tomatoes are fine, honestly.", "STEP 2"),
            Moment("Spaghetti is lowered into boiling salted water", "Salt it until it tastes like the sea."),
            Moment("The cook tosses pasta and sauce together", "A splash of the cooking water binds it.", "STEP 3"),
            Moment(
                "Basil and grated cheese fall on a full plate of food", "And that is dinner.", "", ("happy", "hungry")
            ),
        ),
    ),
    Video(
        "surf-morning",
        "keala",
        ("surf", "sea", "sport"),
        ("at sunrise", "under grey skies", "off a reef", "in the rain"),
        (
            Moment("Surfers wax their boards beside an old van", "The swell came up overnight.", "", ("calm",)),
            Moment("A surfer paddles out through white water", "Duck under, count to three."),
            Moment("A woman drops into a steep green wave", "There she goes, look at that line!", "", ("excited",)),
            Moment("The wave closes out and throws the surfer off", "Ouch. That one had teeth.", "", ("scared",)),
            Moment(
                "Two surfers laugh and sit on their boards in the sea", "Best session of the year.", "", ("joyful",)
            ),
        ),
    ),
    Video(
        "city-night",
        "ines",
        ("city", "night", "street"),
        ("in Lisbon", "in Osaka", "in Chicago"),
        (
            Moment(
                "Neon signs are mirrored in a wet street at night", "The city gets louder after midnight.", "OPEN 24H"
            ),
            Moment("A taxi waits at a red light, two people inside the car", "Where to? Just drive."),
            Moment("A tram rattles uphill past dark shop windows", "Last tram of the night.", "28"),
            Moment(
                "A saxophone player stands under a bridge", "He plays the same sad song every Friday.", "", ("sad",)
            ),
            Moment(
                "A rooftop view of ten thousand lit windows", "Every window is somebody's evening.", "", ("lonely",)
            ),
            Moment("Street cleaners hose down the market before dawn", "And then it all starts again."),
            Moment("A baker carries trays of bread to a van", "Four in the morning, still warm.", "BAKERY"),
        ),
    ),
    Video(
        "bike-repair",
        "yusuf",
        ("bicycle", "workshop"),
        ("in a garage", "on a roadside"),
        (
            Moment("A mechanic clamps a bicycle into a repair stand", "Check the chain before anything else."),
            Moment("A tyre is levered off the rim", "Two levers, half a turn apart."),
            Moment(
                "A bucket of water shows bubbles at a hole in the tube", "There is our puncture.", "", ("relieved",)
            ),
            Moment("A patch is pressed on and the tyre pumped up", "Count to sixty. Really count."),
        ),
    ),
    Video(
        "balcony-garden",
        "odile",
        ("garden", "plants"),
        ("in April", "during a heatwave", "in October"),
        (
            Moment("Tomato seedlings stand in egg boxes on a window sill", "Turn them, or they lean to the light."),
            Moment("Hands fill a pot with dark soil", "Leave two fingers of room for water."),
            Moment("A bee lands on a lavender flower", "The bees find it within a day.", "", ("delighted",)),
            Moment(
                "Ripe cherry tomatoes are picked into a bowl", "Nothing from the shop tastes like this.", "", ("proud",)
            ),
        ),
    ),
    Video(
        "mountain-rescue",
        "sverre",
        ("snow", "mountain", "helicopter"),
        ("in fog", "on the north face"),
        (
            Moment("A helicopter hovers above a snow slope", "We have about ten minutes of light.", "", ("tense",)),
            Moment("A rescuer is lowered on a cable", "Rope is clear. Lower. Lower."),
            Moment("Two climbers wave from a ledge", "They are cold, but they are talking.", "", ("relieved",)),
            Moment("A stretcher slides into the cabin", "All four on board, coming home."),
            Moment("Tea is poured from a flask in the hangar", "You never forget the quiet afterwards."),
        ),
    ),
    Video(
        "robot-workshop",
        "hanna",
        ("robot", "science", "children"),
        ("at school", "at a science fair"),
        (
            Moment("Children solder a small circuit board", "Hot end away from you.", "TEAM 4", ("curious",)),
            Moment(
                "A wheeled robot follows a black line on the floor", "It sees the line! It sees it!", "", ("excited",)
            ),
            Moment("The robot drives into a wall and stops", "So, what did the sensor miss?"),
            Moment("A robot arm stacks wooden cubes", "Three cubes, four cubes, careful.", "", ("tense",)),
            Moment("The class cheers around a cardboard trophy", "Every team finished today.", "FINAL", ("joyful",)),
        ),
    ),
    Video(
        "street-football",
        "baraka",
        ("football", "sport", "children"),
        ("behind the market", "on the beach"),
        (
            Moment("Barefoot kids mark two goals with bricks", "First to five wins."),
            Moment("A girl dribbles past three defenders", "Nobody gets the ball off her.", "", ("excited",)),
            Moment("The goalkeeper dives into the dust and saves", "What a save!"),
            Moment("The winning team runs in circles with arms out", "Five four! Five four!", "5 : 4", ("joyful",)),
        ),
    ),
    Video(
        "pottery-studio",
        "lucia",
        ("craft", "clay"),
        ("by the window", "late in the evening"),
        (
            Moment("A potter centres grey clay on a spinning wheel", "Elbows in, let the wheel work.", "", ("calm",)),
            Moment("A tall vase rises and wobbles between wet hands", "Slow down just before you think you must."),
            Moment("The vase collapses and she laughs", "That is how you learn where thin is.", "", ("amused",)),
            Moment("Glazed bowls come out of the kiln", "Every glaze is a small surprise.", "1240 °C"),
        ),
    ),
)

PRODUCTS = (
    Product(
        "trail-shoe", "studio north", ("shoe", "sport"), "A red trail running shoe with a deep lugged sole", "GRIP 4"
    ),
    Product("espresso-cup", "studio north", ("kitchen", "ceramic"), "A white espresso cup with a thin gold rim"),
    Product("desk-lamp", "studio north", ("lamp", "office"), "A black desk lamp with a jointed brass arm"),
    Product("backpack", "pixelhaus", ("bag", "travel"), "A green canvas backpack with leather straps", "WATERPROOF"),
    Product("wrist-watch", "pixelhaus", ("watch", "steel"), "A steel wrist watch with a dark blue dial", "AUTOMATIC"),
    Product("headphones", "pixelhaus", ("audio", "music"), "Grey over-ear headphones folded on their case"),
    Product(
        "wooden-train", "studio north", ("toy", "children"), "A wooden toy train with three painted wagons", "AGE 3+"
    ),
    Product("rain-jacket", "atelier b", ("jacket", "outdoor"), "A yellow rain jacket with a hood and taped seams"),
    Product("bread-knife", "atelier b", ("kitchen", "knife"), "A bread knife with a walnut handle beside a loaf"),
    Product("yoga-mat", "atelier b", ("sport", "yoga"), "A rolled purple yoga mat with a cotton strap"),
    Product(
        "film-camera", "pixelhaus", ("camera", "vintage"), "A vintage film camera with a scuffed leather case", "50 mm"
    ),
    Product("dog-bowl", "studio north", ("dog", "ceramic"), "A blue ceramic dog bowl filled with dry food", "GOOD DOG"),
)

LESSONS = (
    Lesson(
        "tides",
        "Prof. Amara Osei",
        "Why the sea rises twice a day",
        (
            "The moon pulls the ocean into two bulges, one facing it and one turned away",
            "The earth turns through both bulges, so most coasts see two high tides a day",
            "At full and new moon the sun helps, and spring tides run highest",
            "Narrow bays funnel the water and make the largest tides on earth",
        ),
    ),
    Lesson(
        "bread",
        "Dr. Lena Vogt",
        "The chemistry of a loaf of bread",
        (
            "Kneading stretches gluten into a net that can hold gas",
            "Yeast eats sugar and breathes out carbon dioxide and alcohol",
            "In the oven starch sets and the crust browns by the Maillard reaction",
            "A sourdough culture is a small ecosystem of yeast and bacteria",
        ),
    ),
    Lesson(
        "graphs",
        "Dr. Ravi Menon",
        "Finding near things fast: graphs for vector search",
        (
            "Comparing a query with every vector is exact and slow",
            "A navigable graph links each vector to some of its nearest neighbours",
            "Long links on upper layers cross the space in a few hops",
            "Recall grows with the number of candidates that the search keeps",
        ),
    ),
    Lesson(
        "bridges",
        "Prof. Ingrid Solberg",
        "How bridges carry their load",
        (
            "A beam bends: its top is squeezed and its bottom is stretched",
            "An arch turns weight into pressure and pushes on its abutments",
            "Cables carry a suspension bridge and hand the pull to its towers",
            "Wind can set a deck swinging unless its shape breaks the flow",
        ),
    ),
    Lesson(
        "owls",
        "Dr. Pilar Ortega",
        "How owls hear in the dark",
        (
            "An owl's ears sit at different heights, so a sound arrives at two moments",
            "The face is a dish of feathers that gathers sound",
            "Soft fringes on the wing let it fly at night without a whisper",
            "A barn owl can catch a mouse in complete darkness",
        ),
    ),
    Lesson(
        "maps",
        "Prof. Ingrid Solberg",
        "Every flat map lies about a round world",
        (
            "No projection keeps shapes, areas and distances at the same time",
            "Mercator keeps angles for sailors and makes Greenland as big as Africa",
            "Equal area maps stretch countries near the edge",
            "Choose the lie that does least harm to your question",
        ),
    ),
    Lesson(
        "sleep",
        "Dr. Pilar Ortega",
        "What the brain does while we sleep",
        (
            "Deep sleep comes first and replays the day in fast waves",
            "Dreams grow longer towards the morning",
            "Fluid washes waste out between the cells at night",
            "Blue light in the evening pushes the inner clock back",
        ),
    ),
    Lesson(
        "inflation",
        "Prof. Amara Osei",
        "What inflation does to a household",
        (
            "Prices rise together when money grows faster than goods",
            "A wage that stands still buys less bread every year",
            "Debts shrink in real terms while savings melt",
            "Central banks raise interest rates to cool demand",
        ),
    ),
)

PODCASTS = (
    (
        "Tonight we talk to a lighthouse keeper who never learned to swim",
        "The lamp needs a turn every four hours, storm or no storm",
        "He counts the ships and writes each name in a red book",
    ),
    (
        "How does a choir of strangers sound after one week",
        "The altos were shy, the tenors were late",
        "Then one evening the song just stood up on its own",
    ),
    (
        "Our guest repairs violins in a cellar under the opera",
        "Every crack in the wood has a date and a culprit",
        "Glue is cheap, he says, and patience is not",
    ),
    (
        "Three taxi drivers explain how a city changes after dark",
        "People tell you things in a car that they tell nobody else",
        "Around four the bakers get in and it smells of bread",
        "The last fare of the night is always the longest story",
    ),
    (
        "Why do dogs tilt their heads when you speak to them",
        "One study says they are matching a word to a memory",
        "Another says they just look past their own nose",
    ),
    (
        "We read your letters about the worst meal you ever cooked",
        "Somebody baked a birthday cake with salt in place of sugar",
        "Somebody else set fire to a salad",
    ),
    (
        "A glaciologist listens to ice with microphones from a whale survey",
        "It pops, it groans, and before it breaks it is silent",
        "The recordings are sad and beautiful at once",
    ),
    (
        "What a goalkeeper thinks during a penalty",
        "You choose a side before the striker has chosen one",
        "If you guess wrong, look as if you meant it",
    ),
)

NOTES = (
    "Remember to return the library books before Friday, and ask about the reading group",
    "The ferry leaves at seven from pier four; bring cash, the card reader is broken",
    "Our puppy learned to jump over the garden fence today, so we need a higher fence",
    "Minutes: the roof repair is approved, the playground waits for the spring budget",
    "Lost near the station: a grey kitten with a white paw and a red collar",
    "Review: the hotel room was quiet, the breakfast poor and the view of the sea superb",
    "For sale: a hardly used road bicycle, new tyres, small scratch on the frame",
    "Podcast idea: people who work at night, from bakers to taxi drivers",
    "The concert was sold out, but the band played two more songs in the street",
    "Release notes: search is faster, exports keep their order, and dark mode is here",
    "Thank you all for the birthday cake, the candles and the terrible singing",
    "Weather warning: storm and high waves along the coast until Sunday noon",
)
