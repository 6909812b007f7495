"""The verification endpoint: a picture in; what the model thinks, what follows from it, and why, out."""

from bottega.schema import Field
from usecases.verification.features import PICTURE

REQUEST = (
    Field(
        PICTURE,
        "BYTES",
        description="A JPEG or PNG of the driver's face; its central square is looked at as a whole",
        is_binary=True,
        is_logged=False,
        example="iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR42u3NQQEAAAQEMCS/6Erw2wqsk9SnqWcCgUAgEAgEAoHgygK+PQHAs0oJIwAAAABJRU5ErkJggg==",
    ),
)
ANSWER = (
    Field("mask_probability", "FP32", description="Probability that a mask is worn over nose and mouth"),
    Field("decision", "BYTES", description="accept (a mask is worn), reject (none is), or review (by a person)"),
    Field("reasons", "BYTES", description="Why"),
    Field("helmet_probability", "FP32", description="Probability that a helmet is worn; too poor to decide by"),
    Field("helmet_decision", "BYTES", description="Always review: by a person"),
    Field("helmet_reasons", "BYTES", description="Why"),
    Field("brightness", "FP32", description="Mean of the grey pixels, 0 to 1"),
    Field("contrast", "FP32", description="Standard deviation of the grey pixels, 0 to 1"),
    Field("sharpness", "FP32", description="Variance of the Laplacian over the variance of the grey pixels"),
)
