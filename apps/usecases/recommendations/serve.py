"""The endpoint: what a visitor did comes in, ten suggestions with their reasons go out."""

from bottega.schema import Field

EVENTS = 10
SHOWN = 10

REQUEST = (
    Field(
        "restaurants",
        "INT32",
        description="The restaurants looked at in this session, the newest first",
        known_in="restaurants",
        minimum=-1,
        shape=(EVENTS,),
        fill=-1,
        example="[12, 7]",
    ),
    Field(
        "actions",
        "INT32",
        description="What was done there: 0 browse, 1 cheaper, 2 creative, 3 lively, 4 nicer, 5 quieter, 6 traditional",
        minimum=-1,
        maximum=6,
        shape=(EVENTS,),
        fill=-1,
        example="[1, 0]",
    ),
    Field("goal", "INT32", description="0: what comes next; 1: where the session will end", minimum=0, maximum=1),
    Field(
        "exclude",
        "INT32",
        description="Restaurants not to suggest: closed, full, or seen enough of",
        known_in="restaurants",
        minimum=-1,
        shape=(50,),
        fill=-1,
        example="[]",
    ),
    Field("diversity", "FP64", description="0: the likeliest; up to 1: no two of a cuisine", minimum=0, maximum=1),
)
ANSWER = (
    Field("suggestions", "INT32", description="Restaurants, best first; -1 where none is left", shape=(SHOWN,)),
    Field("names", "BYTES", description="Their names", shape=(SHOWN,)),
    Field("scores", "FP64", description="How likely each is the one", shape=(SHOWN,)),
    Field("reasons", "BYTES", description="Why each is suggested", shape=(SHOWN,)),
    Field("expected_price_usd", "FP64", unit="USD", description="What a dinner at the choice should cost"),
)
