"""Features: declared once; joined point-in-time offline, read by key online.

Declarations are light to import. The engines are imported by name: `bottega.features.offline.TrainingSet`,
`bottega.features.online.OnlineStore`.
"""

from bottega.features.entity import Entity
from bottega.features.external import ExternalView
from bottega.features.on_request import OnRequest, function_steps, on_request
from bottega.features.refs import reference_steps
from bottega.features.source import Source
from bottega.features.static import Attribute, StaticView
from bottega.features.view import FeatureView
from bottega.features.windows import count, distinct, last, max, mean, min, stddev, sum

__all__ = [
    "Attribute",
    "Entity",
    "ExternalView",
    "FeatureView",
    "OnRequest",
    "Source",
    "StaticView",
    "count",
    "distinct",
    "function_steps",
    "last",
    "max",
    "mean",
    "min",
    "on_request",
    "reference_steps",
    "stddev",
    "sum",
]
