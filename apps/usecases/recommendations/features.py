"""What is known of a restaurant: it stands for itself by its number; its traits make the list mixed, and say why."""

from bottega.features import Attribute, Entity, StaticView

restaurant = Entity("restaurant", keys=("restaurant_id",), dtype="int32", description="A restaurant of the guide.")

restaurants = StaticView(
    "restaurants",
    restaurant,
    source="restaurants",
    features=[
        Attribute("price_usd", "USD", description="What a dinner is taken to cost, by its price band"),
        Attribute("cuisine", description="Place in the list of cuisines, -1 for none", default=-1),
        Attribute("quality", description="Levels of food, service and decor, added up", default=0),
        Attribute("lively", description="Labels that say lively, less those that say quiet", default=0),
        Attribute("creative", description="Labels that say creative, less those that say traditional", default=0),
        Attribute("popularity", description="How often it was chosen in the training data, and once more", default=1),
    ],
    description="What the guide's labels say, and how often each restaurant was chosen.",
)

views = (restaurants,)
